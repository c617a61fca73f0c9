"""Passes over what is pending, until nothing is: a fault budget that ends.

A pass hands out every pending row, and what comes of a row is one of these:

* it is committed;
* its attempt raised, and left the error behind: after `compute.max_attempts` of those the job ends with it, since trying again
  would not help. Where the store is to blame it ends at once, for a later run to go on;
* its process died and left nothing. The rows it died with are tried again, one parcel at a time in an actor so that none dies
  of another; after as many deaths as attempts they are halved, and halves that die are halved again, all in the same passes. What
  survives is committed. A row that dies alone is set aside as failed.

Only deaths that the driver lived to see are counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from ray.exceptions import RayError

from repaint_batch.errors import (
    CommitFailed,
    CommitUnknown,
    ConfigError,
    LeaseHeld,
    ManifestError,
    PriorError,
    RepaintBatchError,
    ShardFailed,
    StorageError,
)
from repaint_batch.pipeline.dataset import ActorResources, Unit, run_units
from repaint_batch.pipeline.guarding import Heard, Raised
from repaint_batch.pipeline.inflight import InFlight
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.stopping import Stop
from repaint_batch.results.ranges import Ranges
from repaint_batch.results.table import ResultsTable

_FATAL: dict[str, type[RepaintBatchError]] = {
    "ConfigError": ConfigError,
    "PriorError": PriorError,
    "ManifestError": ManifestError,
    "LeaseHeld": LeaseHeld,
    "Fenced": LeaseHeld,
    "StorageError": StorageError,
    "StoreUnavailable": StorageError,
    "CommitFailed": CommitFailed,
    "CommitUnknown": CommitUnknown,
}
_EMPTY_PASSES = 3  # that end with nothing done and nothing said, as on a cluster that loses its nodes
WAVE_UNITS = 10_000  # handed to Ray Data together, which holds a task for each: hours of work, some megabytes


@dataclass(frozen=True)
class Lost:
    """Rows [start, stop) that have died with their process, and how often."""

    start: int
    stop: int
    deaths: int


def restore(
    job: Job,
    table: ResultsTable,
    resources: ActorResources,
    check: Callable[[], None] = lambda: None,
    stop: Stop | None = None,
    epoch: int | None = None,
) -> None:
    """Run every pending row of a job to its commit.

    Args:
        job: what to run.
        table: the results; it exists.
        resources: what actors take.
        check: called before every pass; raises if this driver is to stop.
        stop: whether this driver was told to stop, and the bell that tells its actors.
        epoch: number of this driver's lease.

    Raises:
        ShardFailed: attempts at some rows all raised; the others are committed. Or the cluster fails pass after pass.
        StorageError: the store does not answer, or no longer serves what it did; a later run goes on.
        Stopped: it was told to stop.
        ConfigError: the prior or a setting cannot be honoured where the actors run.
        ManifestError: the manifest is not what was planned.
    """
    limit, stop = job.config.compute.max_attempts, stop or Stop()
    inflight = InFlight(job)
    lost: list[Lost] = []
    raised: Counter[tuple[int, int]] = Counter()
    broken = 0
    pending = pending_rows(job, table)
    # Nothing pending is believed when it has been said twice: without TLS an answer may be damaged.
    while pending or (pending := pending_rows(job, table)):
        check()
        before, saved = pending, inflight.rows()
        suspects = Ranges.of(*((one.start, one.stop) for one in lost))
        heard = Heard([], [])
        for isolated, units in ((False, list(units_of(job, pending - suspects, saved))), (True, _units(lost, saved))):
            stop.check()  # before what its end did to rows is held against them
            if not units:
                continue
            try:
                told = run_units(
                    job, units[:WAVE_UNITS], resources, epoch=epoch, isolated=isolated, bell=stop.bell
                )
                heard = Heard(heard.raised + told.raised, heard.died + told.died)
            except RayError as error:  # a node or an actor on its way up has gone: what is not in the table is pending
                broken += 1
                if broken >= limit:
                    raise ShardFailed(f"{broken} passes in a row broke down; the last said: {error}") from error
        stop.check()
        pending = pending_rows(job, table)
        errors = [error for error in heard.raised if pending & Ranges.of((error.start, error.stop))]
        raised.update((error.start, error.stop) for error in errors)
        judge(errors, raised, limit)
        spoken = Ranges.of(*((error.start, error.stop) for error in errors))
        dead = (pending & Ranges.of(*heard.died)) - spoken
        lost, guilty = after_deaths(lost, dead, pending - dead, limit)
        reason = "the process that works on this row dies; it did so {} times"
        job.quarantine.add({one.start: reason.format(one.deaths) for one in guilty})
        broken = broken + 1 if pending == before and not dead and not errors else 0
        if broken >= max(limit, _EMPTY_PASSES):
            raise ShardFailed(f"{broken} passes in a row came to nothing, and no worker said why; look at the workers' logs")


def pending_rows(job: Job, table: ResultsTable) -> Ranges:
    """Return the rows of a job that its table does not hold."""
    return Ranges.of((0, job.plan.rows)) - table.done(job.plan)


def units_of(job: Job, rows: Ranges, saved: frozenset[int]) -> Iterator[Unit]:
    """Yield rows in units, none of which goes beyond its shard."""
    size = job.plan.shard_rows
    for start, stop in rows.spans:
        while start < stop:
            end = min(stop, (start // size + 1) * size)
            yield Unit(start, end, _within(saved, start, end))
            start = end


def _units(lost: Iterable[Lost], saved: frozenset[int]) -> list[Unit]:
    return [Unit(one.start, one.stop, _within(saved, one.start, one.stop)) for one in lost]


def _within(rows: frozenset[int], start: int, stop: int) -> frozenset[int]:
    return frozenset(row for row in rows if start <= row < stop)


def after_deaths(before: Iterable[Lost], dead: Ranges, others: Ranges, limit: int) -> tuple[list[Lost], list[Lost]]:
    """Return what is lost after a pass, and the single rows that are guilty of it.

    Args:
        before: what was lost before the pass, and went through it in isolation.
        dead: rows that died in it.
        others: rows that are pending for other reasons: they raised an error, or were never begun. They are neither innocent
            nor guilty.
        limit: deaths after which rows are halved, and a row that died alone is guilty.
    """
    lost, guilty = [], []
    new = dead
    for one in before:
        span = Ranges.of((one.start, one.stop))
        new = new - span
        lost += [Lost(start, stop, one.deaths) for start, stop in (span & others).spans]
        for start, stop in (span & dead).spans:
            deaths = one.deaths + 1
            if one.stop - one.start == 1 and deaths >= limit:
                guilty.append(Lost(start, stop, deaths))
                continue
            cuts = [start, (start + stop) // 2, stop] if deaths >= limit and stop - start > 1 else [start, stop]
            lost += [Lost(low, high, deaths) for low, high in pairwise(cuts)]
    for start, stop in new.spans:
        cuts = [start, (start + stop) // 2, stop] if limit == 1 and stop - start > 1 else [start, stop]
        lost += [Lost(low, high, 1) for low, high in pairwise(cuts)]
    return sorted(lost, key=lambda one: one.start), guilty


def judge(errors: Iterable[Raised], raised: Counter[tuple[int, int]], limit: int) -> None:
    """Raise what will not go away by trying again.

    Args:
        errors: what attempts raised in the last pass.
        raised: how often attempts at rows [start, stop) have raised in this run.
        limit: times after which that ends the job.
    """
    for error in errors:
        if error.error_class in _FATAL:
            raise _FATAL[error.error_class](error.message)
    for error in errors:
        times = raised[error.start, error.stop]
        if times >= limit:
            raise ShardFailed(
                f"rows {error.start} to {error.stop - 1} failed {times} times: {error.error_class}: {error.message}; "
                "what is done stays done, `repaint-batch resume` goes on once the cause is mended"
            )
