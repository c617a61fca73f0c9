"""Processes that publish one parcel each: forked from a server that has everything imported, so that one takes no time."""

import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pyarrow as pa

from repaint_batch.jobs.plan import Plan
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..publishing import publish

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.writers"])


def results(plan: Plan, shard: int, attempt: str) -> pa.Table:
    """Return rows of a shard that tell which attempt wrote them."""
    rows = [
        {
            "sample_id": f"id-{row}",
            "status": "ok",
            "job_id": plan.job_id,
            "shard": shard,
            "row": row,
            "attempt": attempt,
            "output": attempt.encode() * 20,
            "nfe": 1,
        }
        for row in range(*plan.shard_range(shard))
    ]
    return pa.Table.from_pylist(rows, schema=RESULTS)


def writer_of(uri: str, storage: Storage, plan: Plan, shard: int, attempt: str, said: Path) -> ForkServerProcess:
    """Return a process, to be started, that publishes a shard and leaves in the file `said` whether it was the one."""
    return _context.Process(target=_write, args=(uri, storage, plan, shard, attempt, said))


def _write(uri: str, storage: Storage, plan: Plan, shard: int, attempt: str, said: Path) -> None:
    said.write_text(str(publish(ResultsTable(uri, storage), plan, results(plan, shard, attempt))))
