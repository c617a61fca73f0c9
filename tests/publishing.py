"""Results made visible without a job that made them."""

import pyarrow as pa

from repaint_batch.jobs.plan import Plan
from repaint_batch.schema import RESULTS
from repaint_batch.table.committer import Committer
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import stage


def publish(table: ResultsTable, plan: Plan, rows: pa.Table, shard: int = 0) -> bool:
    """Stage consecutive rows of a job and commit them; return whether it was this call that did.

    Rows that do not say which they are, are the first of `shard`.
    """
    start, _ = plan.shard_range(shard)
    if rows["row"].null_count:
        numbers = pa.array(range(start, start + len(rows)), pa.int64())
        rows = rows.set_column(rows.schema.get_field_index("row"), RESULTS.field("row"), numbers)
    with Committer(table, plan, None) as committer:
        return committer.commit(stage(table, plan, rows, rows["attempt"][0].as_py()))
