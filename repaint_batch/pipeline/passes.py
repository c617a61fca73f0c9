"""Passes over what is pending, until nothing is: a fault budget that ends.

An attempt at a shard ends in one of three ways. It commits. It raises, and leaves the error behind: after
`compute.max_attempts` of those the job ends with it, since trying again would not help. Or its process dies and leaves
nothing: after as many of those the row that does it is looked for by bisection and set aside as failed, and its
neighbours are restored.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable

from ray.exceptions import RayError

from repaint_batch.errors import ConfigError, ManifestError, PriorError, RepaintBatchError, ShardFailed
from repaint_batch.pipeline.dataset import ActorResources, run_units
from repaint_batch.pipeline.stages import Job
from repaint_batch.pipeline.stopping import Stop
from repaint_batch.results.attempts import AttemptError, AttemptLog, Unit
from repaint_batch.results.table import ResultsTable

_FATAL: dict[str, type[RepaintBatchError]] = {
    "ConfigError": ConfigError,
    "PriorError": PriorError,
    "ManifestError": ManifestError,
}
WAVE_SHARDS = 10_000  # handed to Ray Data together, which holds a task for each: hours of work, some megabytes
_FIRST_PASS_IN_FLIGHT = 2  # the next shard waits at the actor, so that it never idles


def restore(
    job: Job,
    table: ResultsTable,
    resources: ActorResources,
    check: Callable[[], None] = lambda: None,
    stop: Stop | None = None,
) -> None:
    """Run every pending shard of a job to its commit.

    Args:
        job: what to run.
        table: the results; it exists.
        resources: what actors take.
        check: called before every pass; raises if this driver is to stop.
        stop: whether this driver was told to stop, and the bell that tells its actors.

    Raises:
        ShardFailed: a shard's attempts all raised; the others are committed. Or the cluster fails pass after pass.
        Stopped: it was told to stop.
        ConfigError: the prior or a setting cannot be honoured where the actors run.
        ManifestError: the manifest is not what was planned.
    """
    log, limit, stop = job.attempt_log, job.config.compute.max_attempts, stop or Stop()
    log.clear_errors()
    pending = _pending(job, table)
    in_flight = _FIRST_PASS_IN_FLIGHT
    broken = 0
    # Nothing pending is believed when it has been said twice: without TLS an answer may be damaged.
    while pending or (pending := _pending(job, table)):
        check()
        stop.check()
        wave = sorted(pending)[:WAVE_SHARDS]
        exhausted = {shard for shard, tried in log.counts().items() if tried >= limit}.intersection(wave)
        for shard in sorted(exhausted):
            isolate(job, log, shard, resources)
        log.clear(exhausted)
        try:
            run_units(job, [Unit.whole(job.plan, shard) for shard in wave], resources, in_flight, stop.bell)
            broken = 0
        except RayError as error:  # a node or an actor on its way up has gone: what is not in the table is pending
            broken += 1
            if broken >= limit:
                raise ShardFailed(f"{broken} passes in a row broke down; the last said: {error}") from error
        pending = _pending(job, table)
        if pending:
            stop.check()  # before what its end did to shards is held against them
        _judge(log.errors(), pending, limit)
        # A dying actor takes its queue along; where shards were lost there is none, so that only the guilty use up attempts.
        in_flight = 1 if pending.intersection(wave) else _FIRST_PASS_IN_FLIGHT


def isolate(job: Job, log: AttemptLog, shard: int, resources: ActorResources) -> None:
    """Find the row that kills the workers of a shard, and set it aside.

    One probe halves what is suspected, so there are at most log2(rows) + 1. Where even the last suspect comes through
    alone, the shard is probed as a whole: if it comes through it was innocent, and nothing is set aside; otherwise it is the
    rows together that do it, and all of them are.

    Raises:
        ShardFailed: no row is left to suspect.
    """
    start, stop = job.plan.shard_range(shard)
    known = log.quarantined(shard)
    suspects = [row for row in range(start, stop) if row not in known]
    if not suspects:
        raise ShardFailed(f"shard {shard}: its attempts die although every row of it is set aside; look at the workers' logs")
    first, last = suspects[0], suspects[-1] + 1
    while last - first > 1:
        middle = (first + last) // 2
        if _survives(job, log, Unit(shard, first, middle, probe=True), resources):
            first = middle
        else:
            last = middle
    tries = job.config.compute.max_attempts
    if not _survives(job, log, Unit(shard, first, last, probe=True), resources):
        log.quarantine(shard, first, f"the process that works on this row dies; {tries} attempts at its shard died with it")
        return
    if _survives(job, log, Unit(shard, start, stop, probe=True), resources):
        return  # nothing is wrong with it: its attempts died with their drivers or nodes
    for row in suspects:
        reason = f"{tries} attempts at this row's shard died with their process, though no row of it does so alone"
        log.quarantine(shard, row, reason)


def _survives(job: Job, log: AttemptLog, probe: Unit, resources: ActorResources) -> bool:
    with contextlib.suppress(RayError):
        run_units(job, [probe], resources, tasks_in_flight=1)
    return log.has_passed(probe)


def _pending(job: Job, table: ResultsTable) -> set[int]:
    return set(range(job.plan.shards)) - table.committed(job.plan)


def _judge(errors: Iterable[AttemptError], pending: set[int], limit: int) -> None:
    """Raise what will not go away by trying again."""
    raised = [error for error in errors if error.shard in pending]
    for error in raised:
        if error.error_class in _FATAL:
            raise _FATAL[error.error_class](error.message)
    for shard, times in Counter(error.shard for error in raised).items():
        if times >= limit:
            last = next(error for error in reversed(raised) if error.shard == shard)
            raise ShardFailed(
                f"shard {shard} failed {times} times: {last.error_class}: {last.message}; what is done stays done, "
                "`repaint-batch resume` goes on once the cause is mended"
            )
