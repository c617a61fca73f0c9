"""Tables that others keep: Parquet files and folders of them, and data sets of Hugging Face's as ``save_to_disk`` leaves them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.errors import ManifestError
from repaint_batch.manifest.files import Partition, find_files
from repaint_batch.storage import Storage
from repaint_batch.uris import join

_STATE = "state.json"
"""Beside the Arrow files of a data set; it tells them from others that lie there, which are caches."""


@dataclass(frozen=True)
class Part:
    """One file of a table.

    Attributes:
        uri: where it is.
        name: its path below the table's folder.
        partition: columns that its folders give.
    """

    uri: str
    name: str
    partition: Partition


def foreign_parts(source: str, storage: Storage) -> tuple[str, list[Part]]:
    """Return the folder or prefix of a table, and its files in key order.

    Raises:
        ManifestError: there is none.
    """
    base, files = find_files(source, storage, (".parquet", ".arrow"), "--parquet")
    parquet = [each for each in files if each[0].lower().endswith(".parquet")]
    chosen = parquet or _of_data_sets(files, storage)
    if not chosen:
        raise ManifestError(f"{source}: no Parquet or Arrow file there except caches; check --parquet")
    return base, [Part(uri, uri[len(base) + 1 :], partition) for uri, partition in chosen]


def _of_data_sets(files: list[tuple[str, Partition]], storage: Storage) -> list[tuple[str, Partition]]:
    named: dict[str, set[str] | None] = {}
    for uri, _ in files:
        folder = uri.rpartition("/")[0]
        if folder not in named:
            state = join(folder, _STATE)
            named[folder] = _data_files(storage.read(state), state) if storage.exists(state) else None
    return [each for each in files if (known := named[each[0].rpartition("/")[0]]) is None or each[0].rpartition("/")[2] in known]


def _data_files(state: bytes, uri: str) -> set[str]:
    try:
        return {file["filename"] for file in json.loads(state)["_data_files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{uri} was not written by `save_to_disk` ({error!r:.100}); export it as Parquet") from error


def part_tables(part: Part, rows: int, storage: Storage) -> Iterator[pa.Table]:
    """Yield the rows of a file, some at a time, with the columns that its folders give.

    Raises:
        ManifestError: it cannot be read.
    """
    filesystem, path = storage.arrow(part.uri)
    try:
        if part.uri.lower().endswith(".arrow"):
            batches = _arrow_batches(filesystem.open_input_file(path), rows)
        else:
            batches = pq.ParquetFile(path, filesystem=filesystem).iter_batches(batch_size=rows)
        for batch in batches:
            table = pa.Table.from_batches([batch]).replace_schema_metadata(None)
            for name, value in part.partition.items():
                if name not in table.column_names:
                    table = table.append_column(name, pa.array([value] * len(table), pa.string()))
            yield table
    except (pa.ArrowInvalid, OSError) as error:
        kind = "Arrow" if part.uri.lower().endswith(".arrow") else "Parquet"
        raise ManifestError(f"{part.uri}: cannot be read as {kind}: {error}") from error


def _arrow_batches(file: pa.NativeFile, rows: int) -> Iterator[pa.RecordBatch]:
    is_file = file.read(6) == b"ARROW1"  # otherwise a stream
    file.seek(0)
    opened = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
    found = (opened.get_batch(at) for at in range(opened.num_record_batches)) if is_file else opened
    for batch in found:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
