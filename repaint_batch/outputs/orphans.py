"""What an output holds that nothing refers to: left by attempts that died, or kept for resuming what is now finished.

A data file is an orphan if no version of the table that its log still knows refers to it, so that time travel and rollback
lose nothing; an image file, if no row of any such version names it. While a job of the output is unfinished, what looks
like an orphan may be its parcel on the way to a commit: then only files that certainly belong to a finished job are touched.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from repaint_batch.jobs.lease import NIGHT_LEASE
from repaint_batch.jobs.plan import load_plans
from repaint_batch.outputs.naming import named_images
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join, normalise

YOUNG_S = 3600.0
_TRACES = ("inflight", "lease")
_CHECKPOINT = re.compile(r"(\.checkpoint\.(.*\.)?|/_sidecars/.*\.)parquet$")
_READERS = 8


@dataclass(frozen=True)
class Orphan:
    """An object that nothing refers to.

    Attributes:
        uri: where it is.
        size_bytes: what it takes.
        kind: ``data file``, ``image``, or the kind of trace of a finished job: ``inflight``
    """

    uri: str
    size_bytes: int
    kind: str


@dataclass(frozen=True)
class Orphans:
    """What was looked for.

    Attributes:
        found: what may go.
        unfinished: jobs because of which files were not looked for.
    """

    found: tuple[Orphan, ...]
    unfinished: tuple[str, ...]


def find_orphans(output: str, storage: Storage, young_s: float = YOUNG_S) -> Orphans:
    """Return what may be deleted from an output; nothing is touched.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
        young_s: seconds since its last change during which an object is left alone.
    """
    output = normalise(output)
    table = ResultsTable(output, storage)
    plans = load_plans(output, storage)
    ledger = table.ledger()
    unfinished = tuple(plan.job_id for plan in plans if len(ledger.done(plan.job_id)) < plan.rows)
    found: list[Orphan] = []
    before = time.time() - young_s
    if plans and not unfinished and table.exists():
        found += _files(output, table, storage, before)
    finished = {NIGHT_LEASE, *(plan.job_id for plan in plans)} - set(unfinished)
    found += _traces(output, finished, storage, before)
    return Orphans(tuple(found), unfinished)


def delete_orphans(orphans: Iterable[Orphan], storage: Storage) -> None:
    """Delete what `find_orphans` found."""
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lambda orphan: storage.delete(orphan.uri), orphans))


def _old(uri: str, kind: str, storage: Storage, before: float) -> Iterator[Orphan]:
    for found, info in storage.list(uri):
        if info["modified"] < before:
            yield Orphan(found, int(info["size"]), kind)


def _traces(output: str, finished: set[str], storage: Storage, before: float) -> Iterator[Orphan]:
    """Yield what finished jobs have left beside their plans."""
    jobs = join(output, "jobs")
    listed = [(uri, uri.removeprefix(f"{jobs}/").split("/"), info) for uri, info in storage.list(jobs)]
    listed = [found for found in listed if len(found[1]) > 2]  # JOB/KIND/NAME
    # The newest generation stays: the next is to have a higher number, under which whoever takes it may commit.
    newest = {parts[0]: uri for uri, parts, _ in listed if parts[1] == "lease" and uri.endswith(".json")}
    for uri, (job_id, kind, *_), info in listed:
        if job_id in finished and kind in _TRACES and info["modified"] < before and uri != newest.get(job_id):
            yield Orphan(uri, int(info["size"]), kind)


def _files(output: str, table: ResultsTable, storage: Storage, before: float) -> Iterator[Orphan]:
    # Listed before the log is read: whatever is committed in between is then referred to.
    old_files = [found for found in _old(table.uri, "data file", storage, before) if not _is_log(found.uri, table)]
    old_images = list(_old(join(output, "images"), "image", storage, before))
    referred = _referred_files(table, storage)
    yield from (orphan for orphan in old_files if orphan.uri not in referred)
    if old_images:
        present = sorted({uri for uri, _ in storage.list(table.uri)} & referred)
        named = set(map(_name, named_images(present, storage)))
        yield from (orphan for orphan in old_images if _name(orphan.uri) not in named)


def _is_log(uri: str, table: ResultsTable) -> bool:
    # What a killed process leaves half-written on a disk is no part of it.
    return uri.startswith(f"{table.uri}/_delta_log/") and not uri.endswith(".part")


def _referred_files(table: ResultsTable, storage: Storage) -> set[str]:
    """Return the data files that the table's log names, as added or as removed: those of every version it can go back to."""
    log = [uri for uri, _ in storage.list(join(table.uri, "_delta_log"))]
    with ThreadPoolExecutor(_READERS) as pool:
        paths = [path for found in pool.map(lambda uri: _paths(uri, storage), log) for path in found]
    return {path if "://" in path or path.startswith("/") else join(table.uri, path) for path in paths}


def _paths(uri: str, storage: Storage) -> set[str]:
    if uri.endswith(".json"):
        actions: list[dict[str, Any]] = [json.loads(line) for line in storage.read(uri).splitlines() if line]
    elif _CHECKPOINT.search(uri):
        filesystem, path = storage.arrow(uri)
        actions = pq.ParquetFile(path, filesystem=filesystem).read(columns=["add.path", "remove.path"]).to_pylist()
    else:
        return set()
    named = [action[kind] for action in actions for kind in ("add", "remove") if action.get(kind)]
    # Paths in the log are percent-encoded, see the Delta protocol.
    return {unquote(entry["path"]) for entry in named if entry["path"]}


def _name(uri: str) -> str:
    # Names alone, which are unique: an output that was moved still has its old place in its rows.
    return uri.rpartition("/")[2]
