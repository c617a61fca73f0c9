"""The list of what to restore: Parquet rows of sample_id, image, mask, and whatever else should come along.

``image`` and ``mask`` are each a URI or the Hugging Face struct ``{bytes, path}``. A manifest is one file, or a folder or
prefix of files that are read in key order, see `files`. `open_manifest` refuses a bad one before any work; `read_rows` reads a
range. Both give columns as `columns` says that they are stored.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from repaint_batch.errors import ManifestError, SampleError
from repaint_batch.manifest.columns import as_stored, stored, to_look_at
from repaint_batch.manifest.files import Partition, find_files
from repaint_batch.schema import IMAGE_STRUCT, MANIFEST_REQUIRED
from repaint_batch.storage import Storage
from repaint_batch.uris import join, normalise

MAX_ID_BYTES = 1024
"""A row with a longer id fails, and is called by the beginning of it and a hash."""
_ID_KEPT_BYTES = 100
_NAMED = 5  # offenders that an error lists


@dataclass(frozen=True)
class ManifestFile:
    """One Parquet file.

    Attributes:
        uri: where it is.
        rows: rows in it.
        footer_sha256: hash of its footer and length, which change when its contents do.
        partition: columns that the names of its folders give, each with the one value that all its rows have.
    """

    uri: str
    rows: int
    footer_sha256: str
    partition: Partition = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A manifest that has been validated.

    Attributes:
        base: folder or prefix that relative URIs in it start from.
        files: in key order.
        schema: Arrow schema common to the files, as rows are read.
        fingerprint: 16 hex digits that change with its contents.
        notes: columns that are not read quite as they stand, one line each.
    """

    base: str
    files: tuple[ManifestFile, ...]
    schema: pa.Schema
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)


def open_manifest(uri: str, storage: Storage) -> Manifest:
    """Return the manifest at `uri` after reading all its ids.

    Raises:
        ManifestError: it is missing, lacks a column, or has null, duplicate or empty ids; the message names them.
    """
    uri = normalise(uri)
    base, found = find_files(uri, storage)
    files, schemas, ids, notes = [], [], [], dict[str, None]()
    for file_uri, partition in found:
        file, schema, file_ids, file_notes = _inspect(file_uri, partition, storage)
        files.append(file)
        schemas.append(schema)
        ids.append(file_ids)
        notes |= dict.fromkeys(file_notes)
    for file, schema in zip(files[1:], schemas[1:], strict=True):
        if differs := difference(schemas[0], schema):
            raise ManifestError(
                f"{file.uri}: its columns differ from those of {files[0].uri}: {differs}; write all files with the same"
            )
    all_ids = pa.chunked_array([chunk for column in ids for chunk in column.chunks], type=pa.large_string())
    _check_ids(all_ids, uri)
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.footer_sha256.encode())
        if file.partition:
            digest.update(repr(sorted(file.partition.items())).encode())
    return Manifest(base, tuple(files), schemas[0], digest.hexdigest(), tuple(notes))


def difference(schema: pa.Schema, other: pa.Schema) -> str:
    """Return in which columns `other` differs from `schema`, whatever their order; nothing where they are the same."""
    lacks = [f"no {name!r}" for name in schema.names if name not in other.names]
    besides = [f"{name!r} besides" for name in other.names if name not in schema.names]
    shared = [(name, schema.field(name).type, other.field(name).type) for name in schema.names if name in other.names]
    changed = [f"{name!r} is {now} and not {then}" for name, then, now in shared if now != then]
    return ", ".join([*lacks, *besides, *changed])


def read_rows(files: Sequence[ManifestFile], start: int, stop: int, storage: Storage) -> pa.Table:
    """Return rows `start` to `stop` of a manifest's files; only the row groups that hold them are read.

    Raises:
        ManifestError: a file is no longer what it was when the job was planned.
    """
    tables: list[pa.Table] = []
    ends = list(itertools.accumulate(file.rows for file in files))
    for file, end in zip(files, ends, strict=True):
        begin = end - file.rows
        if end <= start or begin >= stop:
            continue
        parquet = _open(file.uri, storage)
        if _footer_sha256(parquet) != file.footer_sha256:
            raise ManifestError(f"{file.uri} has changed since the job was planned; restore it, or start a new output")
        rows = _read_range(parquet, max(start, begin) - begin, min(stop, end) - begin)
        rows = as_stored(_with_partition(rows, file.partition), file.uri)
        tables.append(rows.select(tables[0].column_names) if tables else rows)
    return pa.concat_tables(tables)


def result_id(value: str | int) -> str:
    """Return the sample_id of a manifest row as it stands in the results."""
    text = str(value)
    if len(data := text.encode()) <= MAX_ID_BYTES:
        return text
    return f"{data[:_ID_KEPT_BYTES].decode(errors='ignore')}~{hashlib.sha256(data).hexdigest()}"


def check_id(value: str | int) -> None:
    """Raise SampleError if a sample_id is too long to be one."""
    size = len(str(value).encode())
    if size > MAX_ID_BYTES:
        raise SampleError(f"sample_id has {size:,} bytes, more than {MAX_ID_BYTES:,}; give the row a shorter one")


def image_bytes_or_uri(value: str | dict[str, Any] | None) -> tuple[bytes | None, str | None]:
    """Return (bytes, None) or (None, URI) of a manifest's image or mask value; (None, None) of a null."""
    if value is None or isinstance(value, str):
        return None, value
    return (value["bytes"], None) if value.get("bytes") is not None else (None, value.get("path"))


def absolute_uri(value: str | dict[str, Any] | None, base: str) -> str | dict[str, Any] | None:
    """Return an image or mask value that means the same in a manifest kept elsewhere than in `base`."""
    if isinstance(value, dict):
        return {**value, "path": absolute_uri(value["path"], base)} if value.get("bytes") is None else value
    if not value or value.startswith(("/", "file:", "s3:")):
        return value
    return join(base, value)


def _open(uri: str, storage: Storage) -> pq.ParquetFile:
    filesystem, path = storage.arrow(uri)
    try:
        return pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise ManifestError(f"{uri}: no such manifest; check input.manifest") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{uri}: cannot be read as Parquet: {error}") from error


def _footer_sha256(parquet: pq.ParquetFile) -> str:
    metadata = parquet.metadata
    groups = [metadata.row_group(i).to_dict() for i in range(metadata.num_row_groups)]
    return hashlib.sha256(repr((metadata.num_rows, str(parquet.schema_arrow), groups)).encode()).hexdigest()


def _inspect(
    uri: str, partition: Partition, storage: Storage
) -> tuple[ManifestFile, pa.Schema, pa.ChunkedArray, tuple[str, ...]]:
    """Return a file, its columns as they are read, its ids, and what is to be said of its columns."""
    parquet = _open(uri, storage)
    raw = parquet.schema_arrow.remove_metadata()
    own_partition = {name: value for name, value in partition.items() if name not in raw.names}
    raw = pa.schema([*raw, *((name, pa.string()) for name in own_partition)])
    check_schema(raw, uri)
    known = stored(raw, uri)
    wanted = ["sample_id", *(name for name in to_look_at(raw) if name not in own_partition)]
    ids = []
    try:
        for batch in parquet.iter_batches(columns=wanted):
            rows = pa.Table.from_batches([batch])
            as_stored(rows.drop_columns("sample_id"), uri)
            ids += rows["sample_id"].cast(pa.large_string()).chunks
            ids[-1].validate(full=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{uri}: {error}; sample_id must be UTF-8, and the file must be complete") from error
    column = pa.chunked_array(ids, pa.large_string())
    nulls = [i for i in range(len(column)) if not column[i].is_valid][:_NAMED] if column.null_count else []
    if nulls:
        raise ManifestError(f"{uri}: sample_id is null in {column.null_count} rows, such as {nulls}; give every row an id")
    file = ManifestFile(uri, parquet.metadata.num_rows, _footer_sha256(parquet), own_partition)
    said = tuple(f"column {name!r} is taken from the names of folders, as text" for name in own_partition)
    return file, known.schema, column, (*known.notes, *said)


def check_schema(schema: pa.Schema, uri: str) -> None:
    """Raise ManifestError unless a manifest may have these columns; `uri` names it."""
    missing = [name for name in MANIFEST_REQUIRED if name not in schema.names]
    if missing:
        raise ManifestError(f"{uri}: missing column {', '.join(missing)}; it has {', '.join(schema.names) or 'none'}")
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise ManifestError(f"{uri}: column {', '.join(repeated)} appears twice; rename one")
    read = stored(schema, uri).schema
    id_type = read.field("sample_id").type
    if not (pa.types.is_string(id_type) or pa.types.is_large_string(id_type) or pa.types.is_integer(id_type)):
        raise ManifestError(f"{uri}: sample_id is {id_type}; it must be a string or an integer")
    for name in ("image", "mask"):
        kind = read.field(name).type
        is_uri = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        is_struct = pa.types.is_struct(kind) and {f.name for f in kind} == {f.name for f in IMAGE_STRUCT}
        if not (is_uri or is_struct):
            raise ManifestError(f"{uri}: {name} is {kind}; it must be a URI string or a struct of bytes and path")
    if "seed" in read.names and not pa.types.is_integer(read.field("seed").type):
        raise ManifestError(f"{uri}: seed is {read.field('seed').type}; it must be an integer")


def _check_ids(ids: pa.ChunkedArray, uri: str) -> None:
    if len(ids) == 0:
        raise ManifestError(f"{uri}: no rows; check what wrote it")
    distinct = pc.count_distinct(ids).as_py()
    if distinct < len(ids):
        counts = pa.table({"id": ids}).group_by("id").aggregate([("id", "count")])
        repeated = counts.filter(pc.greater(counts["id_count"], 1))["id"]
        named = ", ".join(repr(value)[:80] for value in repeated.slice(0, _NAMED).to_pylist())
        raise ManifestError(f"{uri}: sample_id must be unique; {len(repeated)} appear more than once: {named}")
    empty = pc.sum(pc.equal(pc.binary_length(ids), 0)).as_py()
    if empty:
        raise ManifestError(f"{uri}: sample_id is empty in {empty} rows; give every row an id")


def _read_range(parquet: pq.ParquetFile, start: int, stop: int) -> pa.Table:
    metadata = parquet.metadata
    groups: list[int] = []
    first = seen = 0
    for i in range(metadata.num_row_groups):
        rows = metadata.row_group(i).num_rows
        if seen + rows > start and seen < stop:
            if not groups:
                first = seen
            groups.append(i)
        seen += rows
    return parquet.read_row_groups(groups).slice(start - first, stop - start).replace_schema_metadata(None)


def _with_partition(rows: pa.Table, partition: Partition) -> pa.Table:
    for name, value in partition.items():
        rows = rows.append_column(name, pa.array([value] * len(rows), pa.string()))
    return rows
