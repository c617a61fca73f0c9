"""What the workers of a job tell its driver, through an actor beside it: parcels to commit, and what they raised.

It needs no store, so that an error is heard of when the store is what has failed; and it ends with the driver, so that what died
with the driver is held against nobody.
"""

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from repaint_batch.errors import CommitFailed, CommitUnknown, StorageError
from repaint_batch.pipeline.guarding import Heard, Raised
from repaint_batch.pipeline.job import Job
from repaint_batch.results.committer import Committer
from repaint_batch.results.staging import Entry
from repaint_batch.results.table import ResultsTable

_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_MOST_WAITING = 100_000


class Coordinator:
    """One opened table, and one transaction for all that has come in while the last one was written; an ear for errors.

    Args:
        job: the job.
        epoch: number of the lease; a committer of an earlier one is refused by the table.
    """

    def __init__(self, job: Job, epoch: int | None) -> None:
        self._committer = Committer(ResultsTable(job.output, job.storage), job.plan, epoch)
        self._raised: list[Raised] = []
        self._under_way: Counter[tuple[int, int]] = Counter()

    async def commit(self, entry: Entry) -> bool:
        """Return once an entry's rows are durable; True if this call published them."""
        return await asyncio.wrap_future(self._committer.submit(entry))

    async def began(self, start: int, stop: int) -> None:
        """Note that a stage works on rows [start, stop)."""
        self._under_way[start, stop] += 1

    async def ended(self, start: int, stop: int, raised: Raised | None) -> None:
        """Note that it no longer does, and what it raised."""
        self._under_way[start, stop] -= 1
        if raised is not None:
            self._raised.append(raised)

    async def heard(self) -> Heard:
        """Return what was raised, and what a stage worked on when its process died; asked when no stage works any more."""
        return Heard(self._raised, [span for span, times in self._under_way.items() if times > 0])

    @classmethod
    def beside_the_driver(cls, job: Job, epoch: int | None) -> Any:
        """Return a handle of a new one: a node that is drained or lost does not take it along, unless it is the driver's."""
        node = ray.get_runtime_context().get_node_id()
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=True)
        options = {"num_cpus": 0, "max_concurrency": _MOST_WAITING, "scheduling_strategy": here}
        return ray.remote(cls).options(**options).remote(job, epoch)


class Ear:
    """A worker's way to the coordinator; where there is no driver any more nothing is said.

    Args:
        coordinator: a handle of one.
    """

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator

    def began(self, start: int, stop: int) -> None:
        """Say that work on rows [start, stop) begins; returns once it is heard."""
        with contextlib.suppress(RayError):
            ray.get(self._coordinator.began.remote(start, stop))

    def ended(self, start: int, stop: int, raised: Raised | None = None) -> None:
        """Say that it has ended, and what it raised; returns once it is heard."""
        with contextlib.suppress(RayError):
            ray.get(self._coordinator.ended.remote(start, stop, raised))


def commit_patiently(coordinator: Any, entry: Entry, job: Job) -> bool:
    """Return whether this call published `entry`, once its rows are durable.

    What could not be said, or the store did not do, is asked again: the same entry is published once, however often it comes.

    Raises:
        StorageError, CommitFailed, CommitUnknown: the store's patience has run out.
        LeaseHeld: another driver has the job.
    """
    until, pause_s = time.monotonic() + job.config.storage.patience_s, _PAUSE_S
    while True:
        try:
            return bool(ray.get(coordinator.commit.remote(entry)))
        except RayTaskError as error:
            cause = error.cause
            if not isinstance(cause, StorageError | CommitFailed | CommitUnknown) or time.monotonic() + pause_s > until:
                raise cause from None
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
