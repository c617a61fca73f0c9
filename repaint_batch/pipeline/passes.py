"""Passes over what is pending, until nothing is: a finite fault budget.

A pass hands out every pending row, and what comes of a row is one of these:

* it is committed;
* its attempt raised, and left the error behind: after `compute.max_attempts` of those the job ends with it, since trying again
  would not help. Where the store is to blame it ends at once, for a later run to go on;
* its process died, without a word or of its device. Once nothing else is pending, the rows it died with are tried again, one
  parcel at a time in an actor so that none kills another; after as many deaths as attempts they are halved, and halves that
  die are halved again, all in the same passes. What survives is committed. A row that dies alone is set aside as failed.

A death counts if the driver lived to see it and no device is to blame for it: see `devices`. Suspects of a device are tried on
others; a row that makes devices fail is set aside once two of them have, or the only one has, if that one has brought home
something else. Such rows come last, not beside the others: an actor of their own would need a device of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

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
from repaint_batch.pipeline.devices import Devices, Failure
from repaint_batch.pipeline.guarding import Heard, Raised
from repaint_batch.pipeline.inflight import InFlight
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.stopping import Stop
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable

_FATAL: dict[str, type[RepaintBatchError]] = {
    "ConfigError": ConfigError,
    "PriorError": PriorError,
    "ManifestError": ManifestError,
    "LeaseHeld": LeaseHeld,
    "Fenced": LeaseHeld,
    "StorageError": StorageError,
    "NoSpace": StorageError,
    "StoreUnavailable": StorageError,
    "CommitFailed": CommitFailed,
    "CommitUnknown": CommitUnknown,
}
_EMPTY_PASSES = 3  # that end with nothing done and nothing said, as on a cluster that loses its nodes
WAVE_UNITS = 10_000  # handed to Ray Data together, which holds a task for each: hours of work, some megabytes


@dataclass(frozen=True)
class Lost:
    """Rows [start, stop) that have died with their process.

    Attributes:
        start, stop: the rows.
        deaths: how often.
        devices: that failed with them.
    """

    start: int
    stop: int
    deaths: int
    devices: frozenset[str] = frozenset()

    def is_hopeless(self, limit: int, devices: Devices) -> bool:
        """Return whether they died often enough; and if of a device, then on two, or on the only one."""
        tried = not self.devices or len(self.devices) >= min(2, len(devices.others()))
        return self.deaths >= limit and tried


def restore(
    job: Job,
    table: ResultsTable,
    resources: ActorResources,
    check: Callable[[], None] = lambda: None,
    stop: Stop | None = None,
    epoch: int | None = None,
    wanted: Ranges | None = None,
) -> None:
    """Run every pending row of a job to its commit.

    Args:
        job: what to run.
        table: the results; it exists.
        resources: what actors take.
        check: called before every pass; raises if this driver is to stop.
        stop: whether this driver was told to stop, and the bell that tells its actors.
        epoch: number of this driver's lease.
        wanted: the rows to run; None: all of them.

    Raises:
        ShardFailed: attempts at some rows all raised; the others are committed. Or the cluster fails pass after pass.
        StorageError: the store does not answer, or no longer serves what it did; a later run goes on.
        Stopped: it was told to stop.
        ConfigError: the prior or a setting cannot be honoured where the actors run.
        ManifestError: the manifest is not what was planned.
    """
    stop, inflight, faults = stop or Stop(), InFlight(job), Faults(job.config.compute.max_attempts, job.plan.shard_rows)
    pending = pending_rows(job, table, wanted)
    # Nothing pending is believed when it has been said twice: without TLS an answer may be damaged.
    while pending or (pending := pending_rows(job, table, wanted)):
        check()
        before, heard = pending, Heard(devices=faults.devices)
        units, isolated, out = faults.wave(pending, inflight.rows())
        try:
            heard = run_units(
                job, units, resources, epoch=epoch, isolated=isolated, bell=stop.bell, devices=faults.devices, out=out
            )
        except RayError as error:  # a node or an actor on its way up has gone: what is not in the table is pending
            faults.broke_down(error)
        stop.check()  # before what its end did to rows is held against them
        pending = pending_rows(job, table, wanted)
        job.quarantine.add(faults.hold(heard, before, pending))


class Faults:
    """What the passes so far hold against rows and devices.

    Args:
        limit: deaths, or attempts that raised, after which it is held that trying again would not help.
        shard_rows: rows of a shard.

    Attributes:
        devices: what is known of them.
    """

    def __init__(self, limit: int, shard_rows: int) -> None:
        self._limit, self._shard_rows = limit, shard_rows
        self.devices = Devices()
        self._lost: list[Lost] = []
        self._raised: Counter[tuple[int, int]] = Counter()
        self._broken = 0

    def wave(self, pending: Ranges, saved: frozenset[int]) -> tuple[list[Unit], bool, frozenset[str]]:
        """Return what to hand out next, whether one parcel at a time, and devices that are to get none of it.

        Rows that have died before come last, once nothing else is pending.
        """
        others = pending - Ranges.of(*((one.start, one.stop) for one in self._lost))
        suspects, out = ([], frozenset[str]()) if others else _alike(self._lost, self.devices)
        units = [*islice(units_of(self._shard_rows, others, saved), WAVE_UNITS), *_units(suspects[:WAVE_UNITS], saved)]
        return units, not others, out

    def broke_down(self, error: RayError) -> None:
        """Count a pass that did not come to its end.

        Raises:
            ShardFailed: the passes before it did not either.
        """
        self._broken += 1
        if self._broken >= self._limit:
            raise ShardFailed(f"{self._broken} passes in a row broke down; the last said: {error}") from error

    def hold(self, heard: Heard, before: Ranges, pending: Ranges) -> dict[int, str]:
        """Return the rows that are guilty, and why, by what was heard of a pass before which others were pending than now.

        Raises:
            ShardFailed and others: it will not go away by trying again, see `restore`.
        """
        limit, devices = self._limit, heard.devices
        self.devices = devices
        errors = [error for error in heard.raised if pending & Ranges.of((error.start, error.stop))]
        self._raised.update((error.start, error.stop) for error in errors)
        judge(errors, self._raised, limit)
        spoken = Ranges.of(*((error.start, error.stop) for error in errors))
        failures = [failure for failure in heard.failures if failure.device not in devices.bad]
        blamed = Ranges.of(*heard.died, *(span for failure in failures for span in failure.rows.spans))
        dead = (pending & blamed) - spoken
        self._lost, guilty = after_deaths(self._lost, dead, pending - dead, limit, failures, devices)
        judge_devices(devices, self._lost, limit)
        nothing = pending == before and not dead and not errors and not heard.failures
        self._broken = self._broken + 1 if nothing else 0
        if self._broken >= max(limit, _EMPTY_PASSES):
            words = f"{self._broken} passes in a row came to nothing, and no worker said why; look at the workers' logs"
            raise ShardFailed(words)
        return {one.start: f"the process that works on this row dies; it did so {one.deaths} times" for one in guilty}


def _alike(lost: Sequence[Lost], devices: Devices) -> tuple[list[Lost], frozenset[str]]:
    """Return suspects that died of the same devices, and those devices, if there are others to try them on."""
    tried = lost[0].devices
    return [one for one in lost if one.devices == tried], tried if devices.others(tried) else frozenset()


def pending_rows(job: Job, table: ResultsTable, wanted: Ranges | None = None) -> Ranges:
    """Return the rows of a job, or those of them that are wanted, that its table does not hold."""
    return (Ranges.of((0, job.plan.rows)) if wanted is None else wanted) - table.done(job.plan)


def units_of(shard_rows: int, rows: Ranges, saved: frozenset[int] = frozenset()) -> Iterator[Unit]:
    """Yield rows in units, none of which goes beyond its shard."""
    for start, stop in rows.spans:
        while start < stop:
            end = min(stop, (start // shard_rows + 1) * shard_rows)
            yield Unit(start, end, _within(saved, start, end))
            start = end


def _units(lost: Iterable[Lost], saved: frozenset[int]) -> list[Unit]:
    return [Unit(one.start, one.stop, _within(saved, one.start, one.stop)) for one in lost]


def _within(rows: frozenset[int], start: int, stop: int) -> frozenset[int]:
    return frozenset(row for row in rows if start <= row < stop)


def after_deaths(
    before: Iterable[Lost],
    dead: Ranges,
    others: Ranges,
    limit: int,
    failures: Sequence[Failure] = (),
    devices: Devices | None = None,
) -> tuple[list[Lost], list[Lost]]:
    """Return what is lost after a pass, and the single rows that are guilty of it.

    Args:
        before: what was lost before the pass, and may have gone through it in isolation.
        dead: rows that died in it.
        others: rows that are pending for other reasons: they raised an error, or were never begun. They are neither innocent
            nor guilty.
        limit: deaths after which rows are halved, and a row that died alone is guilty.
        failures: those of the deaths that were of a device.
        devices: what is known of them.
    """
    devices = devices or Devices()
    lost, guilty, new = [], [], dead
    for one in before:
        span = Ranges.of((one.start, one.stop))
        new = new - span
        lost += [replace(one, start=start, stop=stop) for start, stop in (span & others).spans]
        for start, stop in (span & dead).spans:
            again = Lost(start, stop, one.deaths + 1, one.devices | _failed_with(start, stop, failures))
            if stop - start == 1 and again.is_hopeless(limit, devices) and (devices.proven or not again.devices):
                guilty.append(again)
            else:
                lost += _halves(again, limit)
    for start, stop in new.spans:
        lost += _halves(Lost(start, stop, 1, _failed_with(start, stop, failures)), limit)
    return sorted(lost, key=lambda one: one.start), guilty


def _failed_with(start: int, stop: int, failures: Iterable[Failure]) -> frozenset[str]:
    span = Ranges.of((start, stop))
    return frozenset(failure.device for failure in failures if failure.rows & span)


def _halves(one: Lost, limit: int) -> Iterator[Lost]:
    """Yield what died, halved once it has died often enough."""
    start, stop = one.start, one.stop
    cuts = [start, (start + stop) // 2, stop] if one.deaths >= limit and stop - start > 1 else [start, stop]
    return (replace(one, start=low, stop=high) for low, high in pairwise(cuts))


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
                "what is done stays done, `repaint-batch run OUTPUT` goes on once the cause is mended"
            )


def judge_devices(devices: Devices, lost: Iterable[Lost], limit: int) -> None:
    """Raise if no device can be trusted: all are bad, or none has ever brought anything home.

    Args:
        devices: what is known of them.
        lost: rows that died.
        limit: deaths after which that is held against them.
    """
    none_left = devices.seen and not devices.others()
    nothing_home = not devices.proven and any(one.devices and one.is_hopeless(limit, devices) for one in lost)
    if none_left or nothing_home:
        raise ShardFailed(
            f"every device fails with whatever it is given ({', '.join(sorted(devices.seen))}): {devices.message}; "
            "what is done stays done, `repaint-batch run OUTPUT` goes on once the cause is mended"
        )
