"""Results made visible without a job that made them."""

import pyarrow as pa

from repaint_batch.results.committer import Committer
from repaint_batch.results.plan import Plan
from repaint_batch.results.staging import stage
from repaint_batch.results.table import ResultsTable


def publish(table: ResultsTable, plan: Plan, rows: pa.Table) -> bool:
    """Stage consecutive rows of a job and commit them; return whether it was this call that did."""
    with Committer(table, plan, None) as committer:
        return committer.commit(stage(table, plan, rows, rows["attempt"][0].as_py()))
