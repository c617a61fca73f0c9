"""How far along an output is: what was planned against what the table holds."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repaint_batch.errors import NothingToResume
from repaint_batch.jobs.plan import Plan, load_plans
from repaint_batch.jobs.usage import Usage, read_usage, slots_used, waits
from repaint_batch.outputs.history import ROLLBACK
from repaint_batch.storage import Storage
from repaint_batch.table.log import Log, info_of
from repaint_batch.table.results import ResultsTable, shards_within

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


def no_holes_reason(hole: str) -> str:
    """Return what to say of an output in which nothing was restored, with what marks its holes."""
    return f"nothing was restored: no mask has a hole, with images.hole {hole}; `repaint-batch check` shows why"


def read_status(output: str, storage: Storage) -> OutputStatus:
    """Return where an output stands.

    Raises:
        NothingToResume: there is no job in it.
    """
    return StatusFeed(output, storage).status


class StatusFeed:
    """Where an output stands, asked again and again: what is new in the table's log is read, and nothing else.

    Jobs are listed again when one commits that was not known, and rows are counted again only after commits that replaced some
    or took some out.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.

    Raises:
        NothingToResume: there is no job in it.
    """

    def __init__(self, output: str, storage: Storage) -> None:
        self._output, self._storage, self._table = output, storage, ResultsTable(output, storage)
        self._log = Log(self._table.uri, storage)
        self._plans = load_plans(output, storage)
        if not self._plans:
            raise NothingToResume(
                f"{output}: no job was ever planned there; check the output, or start with `repaint-batch run`"
            )
        self._ledger = self._table.ledger()
        self._count()

    def poll(self) -> OutputStatus:
        """Return where the output stands now; one request to the store where nothing was committed."""
        counted, before = True, self._ledger.jobs
        rolled_back = False
        for version, actions in self._log.follow(self._ledger.version):
            self._ledger.take(version, actions)
            info = info_of(actions)
            rolled_back |= ROLLBACK in info
            if not info.get("isBlindAppend"):
                counted &= version <= self._counted
            elif version > self._counted:
                failed, skipped = int(info["failed"]), int(info["skipped"])
                self._counts.update(failed=failed, skipped=skipped, ok=int(info["rows"]) - failed - skipped)
        if not counted:
            self._count()
        if rolled_back or self._ledger.jobs != before:
            self._plans = load_plans(self._output, self._storage)
        return self.status

    @property
    def status(self) -> OutputStatus:
        """Where the output stood when it was last asked."""
        plans = self._plans
        done = [self._ledger.done(plan.job_id) for plan in plans]
        jobs = tuple(JobStatus(plan, len(shards_within(plan, rows)), len(rows)) for plan, rows in zip(plans, done, strict=True))
        rows = plans[0].rows
        # Of a night, or a manifest that has grown: what it listed, less what a later night has removed once all is done.
        listed = next((plan.listed for plan in reversed(plans) if plan.listed is not None), None)
        if listed is not None:
            unfinished = any(job.rows_done < job.plan.rows for job in jobs)
            rows = listed if unfinished else self._counts.total()
        return OutputStatus(jobs, self._counts["ok"], self._counts["skipped"], self._counts["failed"], rows)

    def _count(self) -> None:
        """Count the table's rows; `_counted` is the version at which they were."""
        self._counts, self._counted = Counter[str](), self._ledger.version
        if self._ledger.version >= 0:
            counts, self._counted = self._table.newest(lambda rows: (rows.count_by("status"), rows.version))
            self._counts.update({status: number for (status,), number in counts.items()})


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
