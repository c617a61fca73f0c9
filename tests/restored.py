"""Finished outputs without a Ray cluster: the stages of a job, called one after the other in this process."""

from collections.abc import Callable

from repaint_batch.config import JobConfig
from repaint_batch.jobs.plan import Plan, freeze
from repaint_batch.manifest import read_rows
from repaint_batch.pipeline.actor import restorer_for
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.passes import units_of
from repaint_batch.pipeline.run import Summary, Watch, plan_job
from repaint_batch.pipeline.sampling import sampled_here
from repaint_batch.pipeline.stages import decode, encode
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage
from repaint_batch.table.committer import Committer
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import stage
from repaint_batch.uris import normalise


def restore_here(
    config: JobConfig,
    *,
    retry_of: str | None = None,
    listed: int | None = None,
    shards: int | None = None,
    epoch: int | None = None,
    device: Callable[[LoadedPrior], LoadedPrior] = lambda prior: prior,
) -> Plan:
    """Run what is pending of a job, or of its first `shards` shards, with its prior as it is on `device`; return the plan.

    `epoch` is that of the lease under which it would run.
    """
    storage = Storage(config.storage)
    plan, manifest, prior = plan_job(config, storage, retry_of=retry_of, listed=listed)
    plan = freeze(plan, config.output.uri, storage)
    own_columns = tuple(passthrough(manifest.schema))
    table = ResultsTable(config.output.uri, storage)
    table.create(own_columns)
    job = Job(plan, normalise(config.output.uri), own_columns, prior.resolution_px)
    restorer = restorer_for(job, device(prior), 1)
    rows = plan.rows if shards is None else min(plan.rows, shards * plan.shard_rows)
    with Committer(table, plan, epoch) as committer:
        for unit in units_of(plan.shard_rows, Ranges.of((0, rows)) - table.done(plan)):
            for parcel in decode(read_rows(plan.files, unit.start, unit.stop, storage), job, unit.start):
                done = encode(sampled_here(parcel, job, restorer), job)
                assert committer.commit(stage(table, plan, done, parcel["attempt"][0].as_py()))
    return plan


def run_here(
    config: JobConfig,
    watch: Watch,
    *,
    retry_of: str | None,
    listed: int | None = None,
    until: float | None = None,
    asked: Callable[[], bool] = lambda: False,
) -> Summary:
    """Run a job as `run_job` does, in this process and to its end."""
    plan = restore_here(config, retry_of=retry_of, listed=listed)
    with watch(plan, 0, 0):
        return Summary(plan, plan.rows, 0, {}, 0, 0.0)
