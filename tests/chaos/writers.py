"""Processes that publish one parcel each: forked from a server that has everything imported, so that one takes no time."""

import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from repaint_batch.jobs.plan import Plan
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..publishing import publish, shard_of

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.writers"])


def writer_of(uri: str, storage: Storage, plan: Plan, shard: int, attempt: str, said: Path) -> ForkServerProcess:
    """Return a process, to be started, that publishes a shard and leaves in the file `said` whether it was the one."""
    return _context.Process(target=_write, args=(uri, storage, plan, shard, attempt, said))


def _write(uri: str, storage: Storage, plan: Plan, shard: int, attempt: str, said: Path) -> None:
    said.write_text(str(publish(ResultsTable(uri, storage), plan, shard_of(plan, shard, attempt))))
