"""How far an output is: what was planned against what the table holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from repaint_batch.errors import NothingToResume
from repaint_batch.results.plan import Plan, load_plans
from repaint_batch.results.table import ResultsTable, shards_within
from repaint_batch.storage import Storage


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
    def exit_code(self) -> int:
        """0: all rows ok or skipped; 3: finished with failed rows, or with none that had a hole; 1: not finished."""
        return exit_code({"ok": self.ok, "skipped": self.skipped, "failed": self.failed}) if self.finished else 1


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
