"""A parcel's results as one data object of the table's, put there by whoever has them, to be published by the committer.

Nobody sees the object until an entry of the log names it. Its name holds its first row and its attempt, and is unique: a
second attempt never writes over what a first one has put there, whichever of the two is published.
"""

import hashlib
import io
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import Schema

from repaint_batch.errors import StorageError
from repaint_batch.jobs.plan import Plan
from repaint_batch.storage import Storage
from repaint_batch.table.log import Action
from repaint_batch.uris import join

if TYPE_CHECKING:
    from repaint_batch.table.results import ResultsTable

STATISTICS = ("sample_id", "status", "job_id", "shard", "row", "finished_at")
"""Columns of which the log keeps the least and the most; others hold pictures and free text."""

_TEXT_CHARACTERS = 64  # of a least or most value
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class DataObject:
    """Rows of the table's in an object that no entry of the log names yet.

    Attributes:
        path: of the object, below the table's folder.
        size_bytes: of the object.
        modified_ms: when it was put there, in milliseconds since 1970.
        stats: Delta's statistics, as JSON.
    """

    path: str
    size_bytes: int
    modified_ms: int
    stats: str

    def add_action(self, *, data_change: bool = True) -> Action:
        """Return how the log adds the object to the table; `data_change`: whether its rows were not there before."""
        return {
            "add": {
                "path": self.path,
                "partitionValues": {},
                "size": self.size_bytes,
                "modificationTime": self.modified_ms,
                "dataChange": data_change,
                "stats": self.stats,
            }
        }


@dataclass(frozen=True)
class Entry(DataObject):
    """A data object that is to be published.

    Attributes:
        job_id: whose rows it holds.
        attempt: that made them.
        start: first of them, counted in the job's manifest.
        stop: row after the last.
        failed: rows that failed.
        skipped: rows without a hole.
        nfe: network evaluations that were spent on them.
        ids: 8 bytes a row, hashes of the sample ids in order; only where rows may be replaced.
    """

    job_id: str
    attempt: str
    start: int
    stop: int
    failed: int
    skipped: int
    nfe: int
    ids: bytes = b""

    @property
    def rows(self) -> range:
        """The rows of the job's manifest that it holds."""
        return range(self.start, self.stop)


def stage(table: "ResultsTable", plan: Plan, rows: pa.Table, attempt: str) -> Entry:
    """Put a parcel's results beside the table's data and return what the committer needs to publish them.

    Args:
        table: the results table.
        plan: the job.
        rows: results of consecutive rows of its manifest, in order.
        attempt: that made them.

    Raises:
        StorageError: the store refused or failed; nothing is lost by calling again.
    """
    numbers = rows["row"].to_pylist()
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise AssertionError(f"a parcel holds consecutive rows of its manifest, not {numbers[:5]} ... {numbers[-1:]}")
    start, stop = numbers[0], numbers[-1] + 1
    put = put_rows(table, rows, f"part-{start:010d}-{attempt}-{uuid.uuid4().hex[:16]}.parquet")
    states = rows["status"].to_pylist()
    return Entry(
        **vars(put),
        job_id=plan.job_id,
        attempt=attempt,
        start=start,
        stop=stop,
        failed=states.count("failed"),
        skipped=states.count("skipped"),
        nfe=pc.sum(rows["nfe"]).as_py() or 0,
        ids=hashed_ids(rows["sample_id"].to_pylist()).tobytes() if plan.mode == "upsert" else b"",
    )


def put_rows(table: "ResultsTable", rows: pa.Table, path: str) -> DataObject:
    """Put rows beside the table's data, at a path that nobody else uses.

    Raises:
        StorageError: the store refused or failed.
    """
    stored = rows.cast(stored_schema(rows.schema))
    data = _parquet(stored)
    table.storage.write(join(table.uri, path), data)
    return DataObject(path, len(data), time.time_ns() // 10**6, json.dumps(_statistics(stored)))


def read_staged(table_uri: str, path: str, storage: Storage) -> pa.Table:
    """Return the rows of a staged object.

    Raises:
        StorageError: it cannot be read, or is gone.
    """
    filesystem, whole = storage.arrow(join(table_uri, path))
    try:
        return pq.read_table(whole, filesystem=filesystem, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{join(table_uri, path)}: cannot be read: {error}") from error


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Return the types in which a Delta table keeps columns of these types."""
    return pa.schema(Schema.from_arrow(schema).to_arrow())


def hashed_ids(ids: Sequence[str]) -> np.ndarray:
    """Return hashes of sample ids, (N,) uint64: equal ids have equal ones, different ids almost never."""
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in ids)
    return np.frombuffer(digests, np.uint64)


def _parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    # Encoded pictures neither shrink nor repeat.
    others = [name for name in rows.column_names if name != "output"]
    pq.write_table(
        rows,
        buffer,
        compression={name: "none" if name == "output" else "zstd" for name in rows.column_names},
        use_dictionary=others,
        write_statistics=list(STATISTICS),
        write_page_checksum=True,
    )
    return buffer.getvalue()


def _statistics(rows: pa.Table) -> dict[str, Any]:
    """Return Delta's statistics of a file. Source: the Delta protocol, *Per-file Statistics*."""
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for name in STATISTICS:
        bounds = pc.min_max(rows[name])
        if bounds["min"].is_valid:
            least[name], most[name] = _bounds(bounds["min"].as_py(), bounds["max"].as_py())
    nulls = {name: rows[name].null_count for name in STATISTICS}
    return {"numRecords": len(rows), "minValues": least, "maxValues": most, "nullCount": nulls}


def _bounds(least: Any, most: Any) -> tuple[Any, Any]:
    """Return a least and a most value as they are written; where they are not exact they are further apart."""
    if isinstance(least, datetime):
        # Milliseconds: rounded down, and up.
        low, high = (at.astimezone(UTC).replace(tzinfo=None) for at in (least, most + timedelta(microseconds=999)))
        return f"{low.isoformat(timespec='milliseconds')}Z", f"{high.isoformat(timespec='milliseconds')}Z"
    if isinstance(least, str):
        cut = most if len(most) <= _TEXT_CHARACTERS else most[:_TEXT_CHARACTERS] + _LAST_CHARACTER
        return least[:_TEXT_CHARACTERS], cut
    return least, most
