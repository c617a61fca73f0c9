"""Manifests made from what a corpus is kept in: folders, COCO's annotations, a CSV, or Parquet as Hugging Face writes it.

Rows go by in batches to a local file, which is checked as a run would check it and then put in place in one piece. URIs
below the manifest's own folder are written relative to it, so that both can be moved together.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.errors import ManifestError
from repaint_batch.images.masks import shapes_to_json
from repaint_batch.manifest.coco import read_coco
from repaint_batch.manifest.columns import as_stored, decoded, stored
from repaint_batch.manifest.csv_tables import csv_tables
from repaint_batch.manifest.foreign import foreign_parts, part_tables
from repaint_batch.manifest.pairing import NAMED, Aside, FolderPairs, Unpaired, listed_pictures
from repaint_batch.manifest.reading import Manifest, absolute_uri, check_schema, difference, open_manifest
from repaint_batch.schema import IMAGE_STRUCT
from repaint_batch.storage import Storage
from repaint_batch.uris import normalise

_URI_ROWS = 16_384  # rows of a row group of URIs
_BYTES_ROWS = 64  # rows of one that holds pictures

_PANDAS_INDEX = "__index_level_"  # columns of it that pandas adds of its own accord

_URI_SCHEMA = pa.schema([("sample_id", pa.string()), ("image", pa.string()), ("mask", pa.string())])


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table that rows come from.

    Attributes:
        image: URI, bytes, or the Hugging Face struct.
        mask: likewise; not looked at where `boxes` or `polygons` are named.
        sample_id: if there is no such column, a CSV's rows are called by their image, Parquet's by file and row number.
        boxes: (left, top, right, bottom) each, as lists or as JSON.
        polygons: lists of (x, y), likewise.
    """

    image: str = "image"
    mask: str = "mask"
    sample_id: str = "sample_id"
    boxes: str | None = None
    polygons: str | None = None


@dataclass(frozen=True)
class Built:
    """What was built.

    Attributes:
        rows: rows of the manifest.
        unpaired: pictures and masks of folders that have no counterpart.
        outside: prefixes of URIs that do not lie below the manifest's folder; `storage.allow` must name them.
        aside: what else was in folders, and was not taken.
        notes: columns that a run reads in another way than they stand, see `open_manifest`.
    """

    rows: int
    unpaired: Unpaired
    outside: tuple[str, ...]
    aside: Aside = field(default_factory=Aside)
    notes: tuple[str, ...] = ()


def build_from_folders(
    images: str, masks: str, pattern: str, target: str, storage: Storage, *, allow_unpaired: bool = False
) -> Built:
    """Write a manifest of the pictures in a folder or prefix and their masks in another; sample_id = path below it.

    Raises:
        ManifestError: pictures and masks do not pair off, or no manifest can be made of them; nothing is written.
    """
    with tempfile.TemporaryDirectory(prefix="repaint-batch-") as scratch:
        pairs = FolderPairs(images, masks, pattern, storage, Path(scratch))
        try:
            unpaired = pairs.unpaired()
            _refuse_names(pairs.aside, allow_unpaired)
            if (unpaired.pictures or unpaired.masks) and not allow_unpaired:
                raise ManifestError(
                    f"{unpaired}; correct --pattern, which may hold {{path}}, {{stem}}, {{folder}}, {{name}} and {{suffix}}, "
                    "or leave them out with --allow-unpaired"
                )
            manifest = _write(_tables(pairs, target), _URI_ROWS, target, storage)
        finally:
            pairs.close()
    return Built(manifest.rows, unpaired, _outside(target, images, masks), pairs.aside, manifest.notes)


def build_from_coco(images: str, annotations: str, target: str, storage: Storage, *, allow_unpaired: bool = False) -> Built:
    """Write a manifest of the pictures in a folder or prefix, and their masks of a COCO file; sample_id = path below the folder.

    Raises:
        ManifestError: pictures and annotations do not pair off, or the file is none of COCO's; nothing is written.
    """
    annotations, aside = normalise(annotations), Aside()
    masks = read_coco(annotations, storage)
    listed = dict(listed_pictures(images, storage, aside))
    without, alone = sorted(listed.keys() - masks.keys()), sorted(masks.keys() - listed.keys())
    unpaired = Unpaired(len(without), len(alone), tuple(without[:NAMED]), tuple(alone[:NAMED]))
    _refuse_names(aside, allow_unpaired)
    if str(unpaired) and not allow_unpaired:
        raise ManifestError(f"{unpaired}; leave them out with --allow-unpaired")
    base = _base(target)

    def tables() -> Iterator[pa.Table]:
        paths = sorted(listed.keys() & masks.keys())
        for start in range(0, len(paths), _BYTES_ROWS):
            some = paths[start : start + _BYTES_ROWS]
            structs = pa.array([{"bytes": masks[path], "path": None} for path in some], IMAGE_STRUCT)
            yield pa.table({"sample_id": some, "image": [_relative(listed[path], base) for path in some], "mask": structs})

    manifest = _write(tables(), _BYTES_ROWS, target, storage)
    return Built(manifest.rows, unpaired, _outside(target, images), aside, manifest.notes)


def build_with_one_mask(images: str, mask: str, target: str, storage: Storage, *, allow_unpaired: bool = False) -> Built:
    """Write a manifest of the pictures in a folder or prefix, all with the same mask; sample_id = path below it.

    Raises:
        ManifestError: there is no such mask, or there are no pictures.
    """
    mask = normalise(mask)
    if not storage.exists(mask):
        raise ManifestError(f"{mask}: no such mask; check --mask")
    aside = Aside()

    def rows() -> Iterator[tuple[str, str, str]]:
        yield from ((path, uri, mask) for path, uri in listed_pictures(images, storage, aside) if uri != mask)
        _refuse_names(aside, allow_unpaired)

    manifest = _write(_tables(rows(), target), _URI_ROWS, target, storage)
    return Built(manifest.rows, Unpaired(), _outside(target, images, mask.rpartition("/")[0]), aside, manifest.notes)


def build_without_masks(images: str, target: str, storage: Storage, *, allow_unpaired: bool = False) -> Built:
    """Write a manifest of the pictures in a folder or prefix, for a job that finds their masks; sample_id = path below it.

    Raises:
        ManifestError: there are no pictures.
    """
    aside = Aside()
    listed = list(listed_pictures(images, storage, aside))
    _refuse_names(aside, allow_unpaired)
    base = _base(target)
    table = pa.table(
        {
            "sample_id": pa.array([path for path, _ in listed], pa.string()),
            "image": pa.array([_relative(uri, base) for _, uri in listed], pa.string()),
            "mask": pa.nulls(len(listed), pa.string()),
        }
    )
    manifest = _write([table] if listed else [], _URI_ROWS, target, storage)
    return Built(manifest.rows, Unpaired(), _outside(target, images), aside, manifest.notes)


def build_from_rows(rows: Sequence[dict[str, Any]], target: str, storage: Storage) -> Built:
    """Write a manifest of rows with sample_id, image, mask, and whatever else should come along.

    Raises:
        ManifestError: no manifest can be made of them; nothing is written.
    """
    base = _base(target)
    places = [{**row, **{name: _relative(row[name], base) for name in ("image", "mask")}} for row in rows]
    manifest = _write([pa.Table.from_pylist(places)] if places else [], _URI_ROWS, target, storage)
    folders = {row[name].rpartition("/")[0] for row in rows for name in ("image", "mask")}
    return Built(manifest.rows, Unpaired(), _outside(target, *folders), notes=manifest.notes)


def _refuse_names(aside: Aside, is_allowed: bool) -> None:
    if aside.refused_count and not is_allowed:
        raise ManifestError(f"{aside.refusal()}; rename them, or leave them out with --allow-unpaired")


def build_from_csv(source: str, columns: Columns, target: str, storage: Storage) -> Built:
    """Write a manifest of the rows of a CSV file with headings; its other columns come along.

    Raises:
        ManifestError: it cannot be read as CSV, or lacks a column.
    """
    source = normalise(source)
    texts = [columns.image, columns.mask, columns.sample_id, *filter(None, (columns.boxes, columns.polygons))]

    def tables() -> Iterator[pa.Table]:
        first_row = 0
        for table in csv_tables(source, texts, texts, storage):
            yield _renamed(table, columns, source, first_row, target)
            first_row += len(table)

    manifest = _write(tables(), _URI_ROWS, target, storage)
    return Built(manifest.rows, Unpaired(), _outside(target, source.rpartition("/")[0]), notes=manifest.notes)


def build_from_parquet(source: str, columns: Columns, target: str, storage: Storage) -> Built:
    """Write a manifest of the rows of a Parquet file, or of a folder or prefix of them; other columns come along.

    A folder may be one that Spark or Hive wrote, or a data set of Hugging Face's as ``save_to_disk`` leaves it.

    Raises:
        ManifestError: there is none, one cannot be read, or they lack a column.
    """
    base, parts = foreign_parts(normalise(source), storage)

    def tables() -> Iterator[pa.Table]:
        for part in parts:
            first_row = 0
            for table in part_tables(part, _BYTES_ROWS, storage):
                yield _renamed(table, columns, part.uri, first_row, target, part.name)
                first_row += len(table)

    manifest = _write(tables(), _BYTES_ROWS, target, storage)
    return Built(manifest.rows, Unpaired(), _outside(target, base), notes=manifest.notes)


def _tables(rows: Iterable[tuple[str, str, str]], target: str) -> Iterator[pa.Table]:
    base, batch = _base(target), []
    for sample_id, image, mask in rows:
        batch.append((sample_id, _relative(image, base), _relative(mask, base)))
        if len(batch) == _URI_ROWS:
            yield _table(batch)
            batch = []
    if batch:
        yield _table(batch)


def _table(batch: list[tuple[str, str, str]]) -> pa.Table:
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in zip(*batch, strict=True)], schema=_URI_SCHEMA)


def _renamed(
    table: pa.Table, columns: Columns, source: str, first_row: int, target: str, name: str | None = None
) -> pa.Table:
    """Return a batch of a foreign table with a manifest's columns in front of its own; `name` is of the file, for ids."""
    drawn = columns.boxes or columns.polygons
    wanted = [columns.image, *([n for n in (columns.boxes, columns.polygons) if n] if drawn else [columns.mask])]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise ManifestError(f"{source}: no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    folder = source.rpartition("/")[0]
    image = _values(table[columns.image], folder, target, source)
    mask = _drawn(table, columns, source) if drawn else _values(table[columns.mask], folder, target, source)
    if columns.sample_id in table.column_names:
        ids = table[columns.sample_id]
    elif name is None:
        ids = table[columns.image]
    else:
        ids = pa.chunked_array([[f"{name}/{row:08d}" for row in range(first_row, first_row + len(table))]], pa.string())
    used = {"sample_id", "image", "mask", columns.sample_id, *wanted}
    others = [name for name in table.column_names if name not in used and not name.startswith(_PANDAS_INDEX)]
    return pa.table({"sample_id": ids, "image": image, "mask": mask, **{name: table[name] for name in others}})


def _values(column: pa.ChunkedArray, folder: str, target: str, source: str) -> pa.ChunkedArray:
    """Return URIs or structs that mean in the manifest what they mean beside `source`."""
    column = decoded(column)
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.chunked_array([[{"bytes": data, "path": None} for data in column.to_pylist()]], IMAGE_STRUCT)
    is_struct = pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}
    if not is_struct and not pa.types.is_string(kind) and not pa.types.is_large_string(kind):
        raise ManifestError(f"{source}: a column of pictures is {kind}; it must be URIs, bytes or a struct of bytes and path")
    base = _base(target)
    values = []
    for value in column.to_pylist():
        absolute = absolute_uri(value, folder)
        if isinstance(absolute, dict):
            path = absolute["path"]
            absolute = absolute if absolute["bytes"] is not None or not path else {**absolute, "path": _relative(path, base)}
        elif absolute:
            absolute = _relative(absolute, base)
        values.append(absolute)
    return pa.chunked_array([pa.array(values, IMAGE_STRUCT if is_struct else pa.string())])


def _drawn(table: pa.Table, columns: Columns, source: str) -> pa.ChunkedArray:
    """Return masks of the shapes in a table's columns, as structs that hold JSON."""
    found: dict[str, list[Any]] = {}
    for key, name in (("boxes", columns.boxes), ("polygons", columns.polygons)):
        found[key] = table[name].to_pylist() if name else [None] * len(table)
    masks = []
    for boxes, polygons in zip(found["boxes"], found["polygons"], strict=True):
        try:
            data = shapes_to_json(_parsed(boxes), _parsed(polygons))
        except (ValueError, TypeError) as error:
            shapes = f"{boxes!r:.80} {polygons!r:.80}"
            raise ManifestError(f"{source}: {shapes} are not boxes [[left, top, right, bottom], ...] or polygons") from error
        masks.append({"bytes": data, "path": None})
    return pa.chunked_array([pa.array(masks, IMAGE_STRUCT)])


def _parsed(shapes: Any) -> Any:
    return (json.loads(shapes) if isinstance(shapes, str) else shapes) or ()


def _base(target: str) -> str:
    return normalise(target).rpartition("/")[0]


def _relative(uri: str, base: str) -> str:
    """Return `uri` relative to `base` if it lies below it, and reads as relative there: "/a" and "a:b" would not."""
    below = uri.removeprefix(f"{base}/")
    return below if below != uri and ":" not in below.split("/")[0] and not below.startswith(("/", "./")) else uri


def _outside(target: str, *folders: str) -> tuple[str, ...]:
    base = _base(target)
    roots = dict.fromkeys(normalise(folder) for folder in folders)
    return tuple(root for root in roots if root != base and not root.startswith(f"{base}/"))


def _write(tables: Iterable[pa.Table], group_rows: int, target: str, storage: Storage) -> Manifest:
    """Write a manifest in one piece and return it, as read where it was made; nothing is written that a run would refuse."""
    target = normalise(target)
    if not target.lower().endswith(".parquet"):
        raise ManifestError(f"{target}: a manifest's name must end in .parquet")
    with tempfile.TemporaryDirectory(prefix="repaint-batch-") as scratch:
        path = Path(scratch, "manifest.parquet")
        writer: pq.ParquetWriter | None = None
        notes: dict[str, None] = {}
        try:
            for raw in tables:
                if writer is None:
                    check_schema(raw.schema, target)
                notes |= dict.fromkeys(stored(raw.schema, target).notes)
                table = as_stored(raw, target)
                if writer is None:
                    writer = pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True)
                elif differs := difference(writer.schema, table.schema):
                    raise ManifestError(f"{target}: the sources' columns differ: {differs}; write all sources with the same")
                writer.write_table(table.select(writer.schema.names), row_group_size=group_rows)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ManifestError(f"{target}: no rows; check where pictures should come from")
        try:
            manifest = open_manifest(str(path), Storage())
        except ManifestError as error:
            raise ManifestError(str(error).replace(str(path), target)) from error
        storage.upload(target, path)
        return replace(manifest, notes=(*notes, *manifest.notes))
