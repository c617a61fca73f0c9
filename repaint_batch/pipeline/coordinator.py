"""What the workers of a job tell its driver, through an actor beside it: parcels to commit, and what they raised.

It needs no store, so an error gets through even when the store is what has failed; and it ends with the driver, so that what died
with the driver is held against nobody.
"""

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from repaint_batch.errors import CommitFailed, CommitUnknown, NoSpace, StorageError
from repaint_batch.patience import pauses
from repaint_batch.pipeline.devices import Devices, Failure
from repaint_batch.pipeline.guarding import DEVICE_ERROR, Heard, Raised
from repaint_batch.pipeline.job import Job
from repaint_batch.table.committer import Committer
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import Entry

_OTHERS_S = 60.0  # for another device to appear, where one that is out asks first
_MOST_WAITING = 100_000


class Coordinator:
    """One opened table, and one transaction for all that has come in while the last one was written; an ear for errors.

    Args:
        job: the job.
        epoch: number of the lease; a committer of an earlier one is refused by the table.
        devices: what is known of them.
        out: devices that are to get no work now.
    """

    def __init__(self, job: Job, epoch: int | None, devices: Devices | None = None, out: frozenset[str] = frozenset()) -> None:
        self._committer = Committer(ResultsTable(job.output, job.storage), job.plan, epoch)
        self._patience_s = job.config.storage.patience_s
        self._raised: list[Raised] = []
        self._under_way: Counter[tuple[int, int, str | None]] = Counter()
        self._failures: list[Failure] = []
        self._devices, self._out = devices or Devices(), out
        self._here: set[str] = set()
        self._changed = asyncio.Condition()

    async def commit(self, entry: Entry) -> bool:
        """Return once an entry's rows are durable; True if this call published them.

        What the store did not do is asked again: the same entry is published once, however often it comes.

        Raises:
            StorageError, CommitFailed, CommitUnknown: the store's patience has run out.
            LeaseHeld: another driver has the job.
        """
        until = time.monotonic() + self._patience_s
        for pause_s in pauses(self._patience_s):
            try:
                return await asyncio.wrap_future(self._committer.submit(entry))
            except NoSpace:
                raise
            except (StorageError, CommitFailed, CommitUnknown):
                if time.monotonic() + pause_s > until:
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError("pauses have no end")

    async def serves(self, device: str) -> None:
        """Return once a device is to get work: at once, unless it is out or bad and there is another."""
        self._devices.seen.add(device)
        self._here.add(device)
        async with self._changed:
            self._changed.notify_all()
            if self._is_wanted(device) or not self._devices.others(self._out):
                return
            with contextlib.suppress(TimeoutError):  # those that are known may have gone
                await asyncio.wait_for(self._changed.wait_for(lambda: self._is_wanted(device) or self._has_others()), _OTHERS_S)
            if self._has_others():
                await self._changed.wait_for(lambda: self._is_wanted(device) or not self._has_others())

    def _is_wanted(self, device: str) -> bool:
        return device not in self._out | self._devices.bad

    def _has_others(self) -> bool:
        return bool(self._devices.others(self._out) & self._here)

    async def began(self, start: int, stop: int, device: str | None = None) -> None:
        """Note that a stage works on rows [start, stop), perhaps with a device."""
        self._under_way[start, stop, device] += 1

    async def ended(self, start: int, stop: int, raised: Raised | None, device: str | None = None) -> None:
        """Note that it no longer does, and what it raised."""
        span = start, stop, device
        if self._under_way[span] <= 0:
            return  # went with its process, whose last words are still coming in
        if device is not None and raised is not None and raised.error_class == DEVICE_ERROR:
            await self._failed(device, raised.message)
            return
        self._under_way[span] -= 1
        if raised is not None:
            self._raised.append(raised)
        elif device is not None:
            self._devices.worked(device)

    async def _failed(self, device: str, message: str) -> None:
        spans = [span for span, times in self._under_way.items() if span[2] == device and times > 0]
        for span in spans:
            del self._under_way[span]
        failure = Failure(device, Ranges.of(*(span[:2] for span in spans)))
        self._failures.append(failure)
        self._devices.failed(device, failure.rows, message)
        async with self._changed:
            self._changed.notify_all()

    async def heard(self) -> Heard:
        """Return what was raised, and what a stage worked on when its process died; asked when no stage works any more."""
        died = [span[:2] for span, times in self._under_way.items() if times > 0]
        return Heard(self._raised, died, self._failures, self._devices)

    @classmethod
    def beside_the_driver(
        cls, job: Job, epoch: int | None, devices: Devices | None = None, out: frozenset[str] = frozenset()
    ) -> Any:
        """Return a handle of a new one: a node that is drained or lost does not take it along, unless it is the driver's."""
        node = ray.get_runtime_context().get_node_id()
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=True)
        options = {"num_cpus": 0, "max_concurrency": _MOST_WAITING, "scheduling_strategy": here}
        return ray.remote(cls).options(**options).remote(job, epoch, devices, out)


class Ear:
    """A worker's way to the coordinator; where there is no driver any more nothing is said.

    Args:
        coordinator: a handle of one.
        device: what the worker works with, where that may fail.
    """

    def __init__(self, coordinator: Any, device: str | None = None) -> None:
        self._coordinator, self._device = coordinator, device

    def began(self, start: int, stop: int) -> None:
        """Say that work on rows [start, stop) begins; returns once it is heard."""
        with contextlib.suppress(RayError):
            ray.get(self._coordinator.began.remote(start, stop, self._device))

    def ended(self, start: int, stop: int, raised: Raised | None = None) -> None:
        """Say that it has ended, and what it raised; returns once it is heard."""
        with contextlib.suppress(RayError):
            ray.get(self._coordinator.ended.remote(start, stop, raised, self._device))

    def commit(self, entry: Entry) -> bool:
        """Return what `Coordinator.commit` does, or raise it; an entry for which there is no coordinator any more raises too."""
        try:
            return bool(ray.get(self._coordinator.commit.remote(entry)))
        except RayTaskError as error:
            raise error.cause from None
