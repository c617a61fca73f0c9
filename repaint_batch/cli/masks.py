"""Commands over masks: finding what is damaged."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from repaint_batch.cli.options import Endpoint
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import ComputeConfig, DamageKind, FindConfig, ImagesConfig, StorageConfig, parse_config
from repaint_batch.errors import ManifestError
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, normalise

if TYPE_CHECKING:
    from repaint_batch.pipeline.corpus_masks import Listed

app = typer.Typer(name="masks", help="Find what is damaged in pictures.", no_args_is_help=True)
_NAMED = 5


@app.callback()
def _masks() -> None:
    """Find what is damaged in pictures."""


@app.command()
def find(
    to: Annotated[str, typer.Option(help="Manifest to write, NAME.parquet, on disk or s3://; masks go beside it.")],
    images: Annotated[str | None, typer.Option(help="Folder or s3:// prefix of pictures.")] = None,
    manifest: Annotated[
        str | None, typer.Option(help="Manifest of the pictures, instead of --images; its masks are ignored.")
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--find", help="scratches, dust, transport, overlay or edges. May be repeated.")
    ] = None,
    false_marks: Annotated[
        float, typer.Option(help="Sensitivity, 0.02 to 10: false marks that a megapixel of a clean photograph may get.")
    ] = FindConfig.model_fields["false_marks_per_megapixel"].default,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join (or RAY_ADDRESS); by default a local one is started.")
    ] = None,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
) -> int:
    """Find damage in pictures; write masks of it, and a manifest of the damaged pictures.

    Pictures without damage get no mask. Stopped and started again, it goes on. Overlays need at least 8 pictures of one size.

    Exit code: 0 every picture was read; 3 some could not be read; 2 an argument that cannot be honoured; 1 anything else.

    Example: repaint-batch masks find --images photos --find scratches --find dust --to found/manifest.parquet
    """
    with waiting("loading Ray and torch"):
        from repaint_batch.pipeline.corpus_masks import Search, find_masks

    asked: list[DamageKind] | list[str] = kinds or ["scratches", "dust"]
    values = {"find": asked, "false_marks_per_megapixel": false_marks}
    settings = parse_config(values, FindConfig, "masks find")
    if not normalise(to).lower().endswith(".parquet"):
        raise ManifestError(f"{to}: a manifest's name must end in .parquet")
    store = StorageConfig(endpoint_url=endpoint_url)
    storage = Storage(store)
    folder = normalise(to).rpartition("/")[0]
    with waiting("listing pictures"):
        rows = _listed(images, manifest, folder, storage)
    search = Search(settings, ImagesConfig(), store, folder)
    with waiting(f"0 of {len(rows):,} pictures") as say:
        compute = ComputeConfig(address=address)
        found = find_masks(rows, search, compute, lambda done: say(f"{done:,} of {len(rows):,} pictures"))
    return _written(found, settings, to, storage, as_json)


def _written(found: list[dict[str, Any]], settings: FindConfig, to: str, storage: Storage, as_json: bool) -> int:
    """Write the manifest of what was found, say what it is, and return the exit code."""
    from repaint_batch.manifest.building import build_from_rows

    damaged = [row for row in found if row["mask"]]
    failed = [row for row in found if row["reason"]]
    marked = {kind: sum(kind in row["kinds"] for row in damaged) for kind in settings.find}
    answer(as_json, {"manifest": to if damaged else None, "pictures": len(found), "damaged": len(damaged),
                     "failed": len(failed), "kinds": marked})  # fmt: skip
    for kind in settings.find:
        console.print(f"{kind:<10} {marked[kind]:,} pictures")
    console.print(f"clean      {len(found) - len(damaged) - len(failed):,} pictures")
    for row in failed[:_NAMED]:
        console.print(f"[yellow]not looked at:[/] {escape(row['sample_id'])}: {escape(row['reason'])}")
    if len(failed) > _NAMED:
        console.print(f"[yellow]and {len(failed) - _NAMED:,} more[/]")
    if damaged:
        built = build_from_rows([{k: v for k, v in row.items() if k != "reason"} for row in damaged], to, storage)
        console.print(f"{built.rows:,} rows in {escape(to)}")
        if built.outside:
            allow = f"storage.allow: [{', '.join(built.outside)}]"
            console.print(f"some rows lie outside the manifest's folder; set {escape(allow)}")
    else:
        console.print("no damage found; no manifest was written")
    return 3 if failed else 0


def _listed(images: str | None, manifest: str | None, folder: str, storage: Storage) -> "list[Listed]":
    """Return the pictures of a folder or manifest, in the order of their ids."""
    from repaint_batch.manifest import image_bytes_or_uri, open_manifest, read_rows
    from repaint_batch.manifest.pairing import Aside, identified_pictures
    from repaint_batch.pipeline.corpus_masks import Listed

    if (images is None) == (manifest is None):
        raise ManifestError("give exactly one of --images and --manifest")
    if images is not None:
        own = tuple(f"{folder}/{name}/" for name in ("masks", "found"))  # of an earlier search
        listed = (Listed(*row) for row in identified_pictures(images, storage, Aside()))
        rows = sorted((row for row in listed if not row.uri.startswith(own)), key=lambda row: row.sample_id)
        if not rows:
            raise ManifestError(f"{images}: no pictures there; check --images")
        return rows
    opened = open_manifest(str(manifest), storage)
    policy = UriPolicy(opened.base)
    rows = []
    for values in read_rows(opened.files, 0, opened.rows, storage).select(["sample_id", "image"]).to_pylist():
        _, uri = image_bytes_or_uri(values["image"])
        if uri is None:
            raise ManifestError(f"{manifest}: row {values['sample_id']} holds its picture as bytes; `masks find` needs URIs")
        rows.append(Listed(str(values["sample_id"]), policy.resolve(uri), opened.fingerprint))
    return rows
