"""Commands over manifests: building them."""

import json
import re
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from repaint_batch.cli.options import Endpoint, Region, given
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.errors import ManifestError
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.manifest.building import Built

app = typer.Typer(name="manifest", help="Build the list of what to restore.", no_args_is_help=True)


@app.callback()
def _manifest() -> None:
    """Build the list of what to restore."""


@app.command()
def build(
    to: Annotated[str, typer.Option(help="Manifest to write, NAME.parquet, on disk or s3://.")],
    images: Annotated[str | None, typer.Option(help="Folder or s3:// prefix of pictures.")] = None,
    masks: Annotated[
        str | None, typer.Option(help="Folder or prefix of masks, which may be the same, or COCO annotations NAME.json.")
    ] = None,
    mask: Annotated[str | None, typer.Option(help="One mask for all pictures.")] = None,
    pattern: Annotated[
        str, typer.Option(help="Name of a picture's mask below --masks, from {path}, {stem}, {folder}, {name}, {suffix}.")
    ] = "{stem}",
    csv: Annotated[str | None, typer.Option(help="CSV file with a header; any usual separator.")] = None,
    parquet: Annotated[str | None, typer.Option(help="Parquet file, folder of them, or Hugging Face data set on disk.")] = None,
    image_column: Annotated[str, typer.Option(help="Column of pictures in a CSV or Parquet.")] = "image",
    mask_column: Annotated[str, typer.Option(help="Column of masks.")] = "mask",
    id_column: Annotated[str, typer.Option(help="Column of ids.")] = "sample_id",
    boxes_column: Annotated[str | None, typer.Option(help="Column of lists of \\[left, top, right, bottom].")] = None,
    polygons_column: Annotated[str | None, typer.Option(help="Column of lists of polygons.")] = None,
    no_masks: Annotated[
        bool, typer.Option("--no-masks", help="Pictures without masks, for a job that finds masks itself (images.masks).")
    ] = False,
    allow_unpaired: Annotated[
        bool, typer.Option("--allow-unpaired", help="Leave out pictures without a mask and masks without a picture.")
    ] = False,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Write a manifest from folders, a CSV or Parquet: give exactly one of --images, --csv and --parquet.

    A pattern without a suffix finds masks of any format: the default pairs a/b.jpg with a/b.png or a/b.json.

    Exit code: 0 written; 2 no manifest can be made from this; 1 anything else.

    Example: repaint-batch manifest build --images photos --masks photos --pattern {stem}_mask --to photos/manifest.parquet
    """
    from repaint_batch.manifest.building import Columns, build_from_csv, build_from_parquet

    storage = given(endpoint_url, region)
    columns = Columns(image_column, mask_column, id_column, boxes_column, polygons_column)
    if sum(source is not None for source in (images, csv, parquet)) != 1:
        raise ManifestError("give exactly one of --images, --csv and --parquet")
    if images is not None and [masks is None, mask is None, not no_masks].count(False) != 1:
        raise ManifestError("--images needs exactly one of --masks (a folder), --mask (one for all pictures) and --no-masks")
    with waiting(f"reading {images or csv or parquet}"):
        if images is not None:
            built = _of_pictures(images, masks, mask, pattern, to, storage, allow_unpaired)
        elif csv is not None:
            built = build_from_csv(csv, columns, to, storage)
        else:
            built = build_from_parquet(str(parquet), columns, to, storage)
    _say(built, to, as_json)


def _of_pictures(
    images: str, masks: str | None, mask: str | None, pattern: str, to: str, storage: Storage, allow_unpaired: bool
) -> "Built":
    """Write the manifest of a folder of pictures, with their masks, with one for all, or without any."""
    from repaint_batch.manifest.building import build_from_coco, build_from_folders, build_with_one_mask, build_without_masks

    if masks is not None and masks.lower().endswith(".json"):
        return build_from_coco(images, masks, to, storage, allow_unpaired=allow_unpaired)
    if masks is not None:
        return build_from_folders(images, masks, pattern, to, storage, allow_unpaired=allow_unpaired)
    if mask is not None:
        return build_with_one_mask(images, mask, to, storage, allow_unpaired=allow_unpaired)
    return build_without_masks(images, to, storage, allow_unpaired=allow_unpaired)


def _say(built: "Built", to: str, as_json: bool) -> None:
    """Say what was written, and what was left out of it."""
    answer(as_json, {"manifest": to, "rows": built.rows, "notes": list(built.notes), "outside": list(built.outside)})
    console.print(f"{built.rows:,} rows in {escape(to)}")
    if str(built.unpaired):
        console.print(f"[yellow]left out:[/] {escape(str(built.unpaired))}")
    if str(built.aside):
        console.print(f"[yellow]ignored:[/] {escape(str(built.aside))}")
    for note in built.notes:
        console.print(f"[dim]{escape(note)}[/]")
    if built.outside:
        allow = f"storage.allow: [{', '.join(map(_quoted, built.outside))}]"
        console.print(f"some rows lie outside the manifest's folder; set {escape(allow)}")


def _quoted(text: str) -> str:
    """Return `text` as a list in YAML takes it."""
    return text if re.fullmatch(r"[\w/][\w/:. -]*", text) else json.dumps(text, ensure_ascii=False)
