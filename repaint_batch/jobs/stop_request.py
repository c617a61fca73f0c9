"""Stopping a driver from any machine that reaches its output.

::

    jobs/JOB/lease/00000003.stop     whoever holds generation 3 of the lease is to stop

The request names a generation, so that it never stops the driver that comes next. The driver looks for it every second,
see `repaint_batch.pipeline.run`; a night also before each of its jobs.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from repaint_batch.jobs.lease import Generation, Lease
from repaint_batch.storage import Storage
from repaint_batch.uris import join, normalise

_READERS = 16
_POLL_S = 0.5
Ending = Literal["stopped", "dead", "silent"]


@dataclass(frozen=True)
class Driver:
    """A process that runs a job, or a night.

    Attributes:
        lease: the job's.
        held: the generation of it that the process holds.
    """

    lease: Lease
    held: Generation

    @property
    def words(self) -> str:
        """What it is, for people."""
        return f"job {self.lease.job_id}, process {self.held.holder.pid} on {self.held.holder.host}"

    def ended(self) -> Ending:
        """Return how it ended, as soon as it has: it let its lease go, or died, or has said nothing for its time to live."""
        renewals, since = self.held.renewals, time.monotonic()
        while True:
            now = self.lease.newest()
            if now is None or now.number != self.held.number or now.is_free:
                return "stopped" if now is None or now.released else "dead"
            if now.renewals != renewals:
                renewals, since = now.renewals, time.monotonic()
            elif time.monotonic() - since > self.held.ttl_s:
                return "silent"
            time.sleep(_POLL_S)


def drivers(output: str, storage: Storage) -> list[Driver]:
    """Return the processes that hold a lease of an output; one that was killed on another machine looks as if it did."""
    output = normalise(output)
    jobs = join(output, "jobs")
    listed = [uri.removeprefix(f"{jobs}/").split("/") for uri, _ in storage.list(jobs)]
    leases = [Lease(output, job_id, storage) for job_id in sorted({job_id for job_id, *kind in listed if kind[:1] == ["lease"]})]
    with ThreadPoolExecutor(_READERS) as pool:
        newest = pool.map(lambda lease: lease.newest(), leases)
    return [
        Driver(lease, held) for lease, held in zip(leases, newest, strict=True) if held is not None and not held.is_free
    ]


def request_stop(output: str, storage: Storage) -> list[Driver]:
    """Ask every driver of an output to stop; return those that were asked."""
    asked = drivers(output, storage)
    for driver in asked:
        driver.lease.request_stop(driver.held)
    return asked
