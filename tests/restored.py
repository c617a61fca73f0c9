"""Finished outputs without a Ray cluster: the stages of a job, called one after the other in this process."""

from collections.abc import Callable

import pyarrow as pa

from repaint_batch.config import JobConfig
from repaint_batch.manifest import read_rows
from repaint_batch.pipeline.actor import Restorer
from repaint_batch.pipeline.run import plan_job
from repaint_batch.pipeline.stages import Job, decode, encode
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.results.attempts import Unit
from repaint_batch.results.plan import Plan, freeze
from repaint_batch.results.table import ResultsTable
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage, normalise


def restore_here(
    config: JobConfig,
    *,
    retry_of: str | None = None,
    shards: int | None = None,
    device: Callable[[LoadedPrior], LoadedPrior] = lambda prior: prior,
) -> Plan:
    """Run what is pending of a job, or of its first `shards` shards, with its prior as it is on `device`; return the plan."""
    storage = Storage(config.storage)
    plan, manifest, prior = plan_job(config, storage, retry_of=retry_of)
    plan = freeze(plan, config.output.uri, storage)
    own_columns = tuple(passthrough(manifest.schema))
    table = ResultsTable(config.output.uri, storage)
    table.create(own_columns)
    job = Job(plan, normalise(config.output.uri), own_columns, prior.resolution_px)
    restorer = Restorer(job, device(prior), 1)
    for shard in sorted(set(range(plan.shards if shards is None else shards)) - table.committed(plan)):
        attempt = job.attempt_log.begin(Unit.whole(plan, shard))
        start, stop = plan.shard_range(shard)
        work = decode(read_rows(plan.files, start, stop, storage), job, shard, start, attempt, {})
        rows = work.to_pylist()
        sampled = [row for row in rows if row["status"] == "pending" and row["windows"]]
        if sampled:
            restorer.restore(sampled, resumable=False)
        assert table.commit(plan, shard, encode(pa.Table.from_pylist(rows, schema=job.work_schema), job))
    return plan
