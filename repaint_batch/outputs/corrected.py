"""Masks that somebody has corrected: where they are kept, for which picture each was drawn, and how they are read.

A mask belongs to the bytes of a picture, so its name holds their hash: whatever reads it knows whether that is still the picture.
"""

import re
from typing import NamedTuple

from repaint_batch.config import ImagesConfig, JobConfig
from repaint_batch.images.masks import as_drawn
from repaint_batch.outputs.naming import masks_prefix
from repaint_batch.uris import join

CHANGED = "the picture has changed since it was reviewed; review it again"
"""Why a picture is not restored as a review has asked for."""

_NAME = re.compile(r"/([0-9a-f]{64})/([0-9a-f]{64})\.png")


class Corrected(NamedTuple):
    """A corrected mask, by the hash of the picture that it was drawn for and its own."""

    image_sha256: str
    mask_sha256: str


def corrected_mask_uri(output: str, image_sha256: str, mask_sha256: str) -> str:
    """Return where a corrected mask is kept: below the hash of the picture that it was drawn for."""
    return join(_prefix(output), image_sha256, f"{mask_sha256}.png")


def corrected(output: str, mask_uri: str | None) -> Corrected | None:
    """Return what the URI of a row's mask says of a corrected one; None if it is another."""
    prefix = _prefix(output)
    found = _NAME.fullmatch(mask_uri, len(prefix)) if mask_uri and mask_uri.startswith(prefix) else None
    return Corrected(*found.groups()) if found else None


def images_for(images: ImagesConfig, output: str, mask_uri: str | None) -> ImagesConfig:
    """Return a job's settings of images as they hold for a row: a corrected mask is read as drawn, whatever they say of masks."""
    return images if corrected(output, mask_uri) is None else as_drawn(images)


def config_for(config: JobConfig, output: str, mask_uri: str | None) -> JobConfig:
    """Return a job's config with the settings of images that hold for a row."""
    return config.model_copy(update={"images": images_for(config.images, output, mask_uri)})


def _prefix(output: str) -> str:
    return join(masks_prefix(output), "corrected")
