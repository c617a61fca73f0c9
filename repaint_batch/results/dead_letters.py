"""Failed rows as a manifest of their own, so that exactly they can run again."""

import hashlib
import io
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.config import JobConfig
from repaint_batch.manifest import absolute_uri, read_rows
from repaint_batch.results.plan import Plan, load_plan
from repaint_batch.results.table import ResultsTable
from repaint_batch.storage import Storage, join, normalise


def retry_configs(output: str, storage: Storage) -> list[tuple[JobConfig, Plan]]:
    """Write the failed rows of an output as manifests and return, for each job they come from, how to run them again.

    A manifest is named by the rows and the attempts that failed, so that asking twice before anything has run again gives
    the same job.
    """
    table = ResultsTable(output, storage)
    failed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.rows(("sample_id", "job_id", "shard", "attempt"), "status = 'failed'"):
        failed[row["job_id"]].append(row)
    configs = []
    for job_id, rows in sorted(failed.items()):
        plan = load_plan(output, job_id, storage)
        attempts = hashlib.sha256("\n".join(f"{row['sample_id']}\0{row['attempt']}" for row in rows).encode())
        uri = join(normalise(output), "dead-letters", f"{attempts.hexdigest()[:16]}.parquet")
        buffer = io.BytesIO()
        pq.write_table(_manifest_rows(plan, rows, storage), buffer)
        storage.write(uri, buffer.getvalue())
        config = plan.job_config()
        allow = (*config.storage.allow, plan.base)
        update = {
            "input": config.input.model_copy(update={"manifest": uri}),
            "storage": config.storage.model_copy(update={"allow": tuple(dict.fromkeys(allow))}),
        }
        configs.append((config.model_copy(update=update), plan))
    return configs


def _manifest_rows(plan: Plan, failed: list[dict[str, Any]], storage: Storage) -> pa.Table:
    ids = {row["sample_id"] for row in failed}
    parts = []
    for shard in sorted({row["shard"] for row in failed}):
        rows = read_rows(plan.files, *plan.shard_range(shard), storage)
        parts.append(rows.filter(pa.array([str(value) in ids for value in rows["sample_id"].to_pylist()])))
    table = pa.concat_tables(parts)
    for name in ("image", "mask"):
        field = table.schema.field(name)
        values = [absolute_uri(value, plan.base) for value in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table
