"""Priors that others have published on the Hugging Face hub, by the commit at which their files are what they are."""

from dataclasses import dataclass

from repaint_batch.errors import PriorError


@dataclass(frozen=True)
class Published:
    """A prior that is known to be of a kind that is sampled here.

    Attributes:
        revision: commit on the hub.
        size_px: side of its pictures.
        domain: what it knows, and nothing else.
        licence: of its weights, as its card says.
        megabytes: to fetch.
    """

    revision: str
    size_px: int
    domain: str
    licence: str
    megabytes: int


PUBLISHED = {
    "google/ddpm-celebahq-256": Published(
        "cd5c944777ea2668051904ead6cc120739b86c4d", 256, "faces (CelebA-HQ)", "Apache-2.0", 455
    ),
    "google/ddpm-cat-256": Published("a30605ddf01544f8b55415aacdf2d3d3070e7113", 256, "cats (LSUN)", "Apache-2.0", 455),
    "google/ddpm-cifar10-32": Published(
        "267b167dc01f0e4e61923ea244e8b988f84deb80", 32, "CIFAR-10's ten things", "Apache-2.0", 143
    ),
}
"""By hub id."""


def published(name: str, revision: str | None) -> str:
    """Return the commit at which a hub id is fetched.

    Raises:
        PriorError: it is not in the table, and no revision was given.
    """
    if revision is not None:
        return revision
    if name not in PUBLISHED:
        known = ", ".join(PUBLISHED)
        raise PriorError(f"{name} is not one of {known}; for another hub id add --revision, its commit of 40 hex digits")
    return PUBLISHED[name].revision
