"""How far an output is: what was planned against what the table holds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repaint_batch.errors import NothingToResume
from repaint_batch.results.plan import Plan, load_plans
from repaint_batch.results.table import ResultsTable, shards_within
from repaint_batch.results.usage import Usage, read_usage, slots_used, waits
from repaint_batch.storage import Storage

_LATELY_S = 60.0  # an actor at work says something every ten seconds


@dataclass(frozen=True)
class JobStatus:
    """One job of an output.

    Attributes:
        plan: the job.
        shards_done: shards of it of which the table holds every row.
        rows_done: rows of it that the table holds.
    """

    plan: Plan
    shards_done: int
    rows_done: int


@dataclass(frozen=True)
class OutputStatus:
    """An output: its jobs, oldest first, and its table.

    Attributes:
        jobs: the first one planned every row; later ones ran some of them again.
        ok: rows restored.
        skipped: rows without a hole.
        failed: rows with a reason why not.
        rows: rows that were planned.
    """

    jobs: tuple[JobStatus, ...]
    ok: int
    skipped: int
    failed: int
    rows: int

    @property
    def missing(self) -> int:
        """Planned rows that the table does not hold yet."""
        return self.rows - self.ok - self.skipped - self.failed

    @property
    def finished(self) -> bool:
        """Whether every job has committed every row and no row is missing."""
        return self.missing == 0 and all(job.rows_done == job.plan.rows for job in self.jobs)

    @property
    def current(self) -> JobStatus:
        """The newest job that is not done, or the last one."""
        return next((job for job in reversed(self.jobs) if job.rows_done < job.plan.rows), self.jobs[-1])

    @property
    def exit_code(self) -> int:
        """0: all rows ok or skipped; 3: finished with failed rows, or with none that had a hole; 1: not finished."""
        return exit_code({"ok": self.ok, "skipped": self.skipped, "failed": self.failed}) if self.finished else 1


@dataclass(frozen=True)
class DeviceStatus:
    """How a job's actors use their devices.

    Attributes:
        job_id: the job.
        actors: those that have made a network call.
        slots_used: share of the slots of their network calls that held a window.
        device_waits: share of the time from an actor's first call to its last in which none was under way.
        windows_waiting: windows that wait for a slot, of actors that have said something lately.
        parcels: parcels that these actors work on.
    """

    job_id: str
    actors: int
    slots_used: float
    device_waits: float
    windows_waiting: int
    parcels: int


def exit_code(counts: Mapping[str, int]) -> int:
    """Return the exit code of a finished output, of its rows by status: a job that restored nothing is no success."""
    return 3 if counts["failed"] or no_holes(counts) else 0


def no_holes(counts: Mapping[str, int]) -> bool:
    """Return whether every row was skipped, since no mask has a hole."""
    return bool(counts["skipped"]) and not counts["ok"] and not counts["failed"]


def read_status(output: str, storage: Storage) -> OutputStatus:
    """Return where an output stands.

    Raises:
        NothingToResume: there is no job in it.
    """
    plans = load_plans(output, storage)
    if not plans:
        raise NothingToResume(f"{output}: no job was ever planned there; check the output, or start with `repaint-batch run`")
    table = ResultsTable(output, storage)
    ledger = table.ledger()
    jobs = []
    for plan in plans:
        done = ledger.done(plan.job_id)
        jobs.append(JobStatus(plan, len(shards_within(plan, done)), len(done)))
    counts = table.counts() if table.exists() else {"ok": 0, "skipped": 0, "failed": 0}
    rows = plans[0].rows
    if plans[-1].listed is not None:  # a night's: what it listed, less what a later night has removed once all is done
        unfinished = any(job.rows_done < job.plan.rows for job in jobs)
        rows = plans[-1].listed if unfinished else sum(counts.values())
    return OutputStatus(tuple(jobs), counts["ok"], counts["skipped"], counts["failed"], rows)


def read_device_status(output: str, job: JobStatus, storage: Storage) -> DeviceStatus | None:
    """Return how a job uses its devices; None where no actor has said anything."""
    return device_status(job, read_usage(output, job.plan.job_id, storage), time.time())


def device_status(job: JobStatus, usages: Sequence[Usage], now_s: float) -> DeviceStatus | None:
    """Return what actors have said together; nothing waits in a job that is done, or at actors that have gone.

    Args:
        job: theirs.
        usages: what each has said last.
        now_s: seconds since 1970.
    """
    if not usages:
        return None
    done = job.rows_done == job.plan.rows
    at_work = [usage for usage in usages if not done and now_s - usage.said_at < _LATELY_S]
    return DeviceStatus(
        job_id=job.plan.job_id,
        actors=len(usages),
        slots_used=slots_used(usages),
        device_waits=waits(usages),
        windows_waiting=sum(usage.waiting for usage in at_work),
        parcels=sum(usage.parcels for usage in at_work),
    )
