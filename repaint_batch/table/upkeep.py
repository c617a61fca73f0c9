"""Keeping a table small and quick to open over the years.

Small files are put together, a checkpoint stands for the log before it, and the log is cut where nobody may go back any more.
Nothing else removes what is kept: deltalake's own cleaning, by ages of its own, is switched off, and `orphans` deletes what no
version in the log refers to. A version counts as kept for `keep_s` after another took its place, by the store's clock.
"""

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from repaint_batch.storage import Storage
from repaint_batch.table.checkpoints import write_checkpoint
from repaint_batch.table.log import Action, Dated, Log
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import put_rows

COMPACTED = "compacted"
"""Key under which a compaction says in the log how many files it has put together."""
CHECKPOINT_VERSIONS = 20  # every night adds a few, and each of its commands reads those after the last checkpoint
MANY_FILES = 64
SMALL_BYTES = 4 << 20
_WHOLE_BYTES = 64 << 20
_DELETERS = 8


def look_after(table: ResultsTable, keep_s: float) -> None:
    """Compact a table, checkpoint it and cut its log, each if it is time to.

    Args:
        table: the results table; nobody else writes to it meanwhile, or this does less.
        keep_s: how long a version is kept, once it is superseded.

    Raises:
        StorageError: the store does not answer; what was not done is done the next time.
    """
    compact(table)
    checkpoint(table, keep_s)
    cut(Log(table.uri, table.storage), keep_s, table.storage)


def compact(table: ResultsTable) -> int:
    """Put small files together if there are many; return how many were, 0 also if somebody else's commit came first.

    The rows go through memory, at most `_WHOLE_BYTES` of files at a time.
    """
    snapshot = table.snapshot()
    small = [(path, size) for path, size in snapshot.files() if size < SMALL_BYTES]
    if len(small) < MANY_FILES:
        return 0
    now = time.time_ns() // 10**6
    actions: list[Action] = [
        {
            "commitInfo": {
                "timestamp": now,
                "operation": "OPTIMIZE",
                "operationParameters": {},
                "engineInfo": "repaint-batch",
                "isBlindAppend": False,
                COMPACTED: str(len(small)),
            }
        }
    ]
    for together in _bins(small):
        rows = snapshot.rows_of([path for path, _ in together])
        added = put_rows(table, rows, f"part-compacted-{uuid.uuid4().hex[:16]}.parquet")
        actions.append(added.add_action(data_change=False))
        actions += [_removal(path, size, now) for path, size in together]
    return len(small) if Log(table.uri, table.storage).write(snapshot.version + 1, actions) else 0


def _removal(path: str, size: int, now_ms: int) -> Action:
    whole = {"extendedFileMetadata": True, "partitionValues": {}, "size": size}
    return {"remove": {"path": path, "deletionTimestamp": now_ms, "dataChange": False, **whole}}


def _bins(files: Sequence[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """Return files in groups that are read and written together."""
    bins: list[list[tuple[str, int]]] = []
    room = 0
    for path, size in files:
        if size > room:
            bins.append([])
            room = _WHOLE_BYTES
        bins[-1].append((path, size))
        room -= size
    return bins


def checkpoint(table: ResultsTable, keep_s: float) -> None:
    """Write a checkpoint if the last one is some versions ago, or so old that the log could be cut at it by now."""
    log = Log(table.uri, table.storage)
    objects = log.dated()
    last = max((found for found in objects if found.is_checkpoint), key=lambda found: found.version, default=None)
    newest = max(found.version for found in objects)
    now = max(found.modified for found in objects)
    if last is None or newest - last.version >= CHECKPOINT_VERSIONS or (newest > last.version and last.modified < now - keep_s):
        write_checkpoint(log, table.storage, newest, {})


def cut(log: Log, keep_s: float, storage: Storage) -> None:
    """Delete what only versions need that are not kept."""
    objects = log.dated()
    first = first_kept(objects, {found.version for found in log.listed()[1]}, keep_s)
    # Oldest first: whatever ends this, what is left goes on to the newest.
    with ThreadPoolExecutor(_DELETERS) as pool:
        list(pool.map(storage.delete, [found.uri for found in objects if found.version < first]))


def first_kept(objects: Sequence[Dated], whole: set[int], keep_s: float) -> int:
    """Return the version from which on a log is to be there.

    The oldest version to keep is the one that was the newest `keep_s` ago. It is made from the last checkpoint at or before it.

    Args:
        objects: of the log.
        whole: versions of which there is a whole checkpoint.
        keep_s: how long a version is kept, once it is superseded.
    """
    then = max(found.modified for found in objects) - keep_s
    superseded = [found.version for found in objects if not found.is_checkpoint and found.modified <= then]
    return max((version for version in whole if superseded and version <= max(superseded)), default=0)
