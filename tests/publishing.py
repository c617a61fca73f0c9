"""Results without a job that made them: plans, rows that tell which attempt wrote them, and how they become visible."""

from typing import Any

import pyarrow as pa

from repaint_batch.config import JobConfig
from repaint_batch.jobs.plan import Plan, make_plan
from repaint_batch.manifest import Manifest, ManifestFile
from repaint_batch.schema import RESULTS
from repaint_batch.table.committer import Committer
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import Entry, stage

from .conftest import Place


def plan_of(place: Place, rows: int = 10, shard_rows: int = 4, **sections: Any) -> Plan:
    """Return the plan of a job whose manifest nobody has written."""
    values = {"input": {"manifest": "m.parquet"}, "output": {"uri": place.uri}, "compute": {"shard_rows": shard_rows}}
    config = JobConfig.model_validate({**values, **sections})
    manifest = Manifest(place.uri, (ManifestFile("m.parquet", rows, "0" * 64),), pa.schema([]), f"{rows:016x}")
    return make_plan(config, manifest, "prior", {"sampler": "repaint"})


def empty_table(place: Place) -> ResultsTable:
    """Return a table that has just been created."""
    table = ResultsTable(place.uri, place.storage)
    table.create([])
    return table


def parcel(plan: Plan, start: int, stop: int, attempt: str = "a", status: str = "ok", ids: str = "id-{}") -> pa.Table:
    """Return rows [start, stop) of a job as an attempt made them."""
    rows = [
        {
            "sample_id": ids.format(row),
            "status": status,
            "job_id": plan.job_id,
            "shard": row // plan.shard_rows,
            "row": row,
            "attempt": attempt,
            "nfe": 3,
            "output": attempt.encode() * 20,
        }
        for row in range(start, stop)
    ]
    return pa.Table.from_pylist(rows, schema=RESULTS)


def shard_of(plan: Plan, shard: int, attempt: str = "a", status: str = "ok") -> pa.Table:
    """Return the rows of a shard as an attempt made them."""
    return parcel(plan, *plan.shard_range(shard), attempt, status)


def staged(table: ResultsTable, plan: Plan, start: int, stop: int, attempt: str = "a", **values: str) -> Entry:
    """Return the entry of a parcel whose data file is written, and which nobody has committed."""
    return stage(table, plan, parcel(plan, start, stop, attempt, **values), attempt)


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
