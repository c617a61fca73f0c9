"""Failed rows as a manifest of their own, so that those rows alone can run again."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import Plan, load_plan
from repaint_batch.manifest import absolute_uri, read_rows, result_id
from repaint_batch.outputs.standing import retried
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join, normalise

_LAST = {"last_error_class": "error_class", "last_message": "reason", "last_attempt": "attempt"}


def retry_configs(output: str, storage: Storage, settings: JobConfig | None = None) -> list[tuple[JobConfig, Plan]]:
    """Write the failed rows of an output as manifests and return, for each job they come from, how to run them again.

    A manifest is named by the rows and the attempts that failed, so that asking twice before anything has run again gives
    the same job.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
        settings: under which they run; None: those of their jobs.
    """
    configs = []
    for job_id, rows in _failed(output, storage, ("attempt",)).items():
        plan = load_plan(output, job_id, storage)
        attempts = hashlib.sha256("\n".join(f"{row['sample_id']}\0{row['attempt']}" for row in rows).encode())
        letters = manifest_rows(plan, rows, storage)
        again = retry_config(output, plan, letters, attempts.hexdigest()[:16], storage, settings)
        configs.append((again, plan))
    return configs


def retry_config(
    output: str, plan: Plan, rows: pa.Table, name: str, storage: Storage, settings: JobConfig | None = None
) -> JobConfig:
    """Write manifest rows of a job to the output, under `name`; return its config, or `settings`, with them as its manifest."""
    uri = join(normalise(output), "dead-letters", f"{name}.parquet")
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, write_page_checksum=True)
    storage.write(uri, buffer.getvalue())
    config = plan.job_config if settings is None else retried(output, plan, settings)[0]
    allow = (*config.storage.allow, plan.base)
    update = {
        "input": config.input.model_copy(update={"manifest": uri}),
        "storage": config.storage.model_copy(update={"allow": tuple(dict.fromkeys(allow))}),
    }
    return config.model_copy(update=update)


@dataclass(frozen=True)
class Failures:
    """Rows that failed alike.

    Attributes:
        error_class: how.
        rows: how many there are.
        sample_id: one of them.
        reason: why that one did.
    """

    error_class: str
    rows: int
    sample_id: str
    reason: str


def failures(output: str, storage: Storage) -> list[Failures]:
    """Return the failed rows of an output by class of error, most first, with the first of each by name."""
    kinds: dict[str, list[Any]] = {}
    table = ResultsTable(output, storage)
    for row in table.rows(("sample_id", "error_class", "reason"), [("status", "=", "failed")]):
        found = kinds.setdefault(row["error_class"], [0, row])
        found[0] += 1
        found[1] = min(found[1], row, key=lambda one: str(one["sample_id"]))
    told = [Failures(name, rows, row["sample_id"], row["reason"] or "") for name, (rows, row) in kinds.items()]
    return sorted(told, key=lambda kind: (-kind.rows, kind.error_class))


def write_dead_letters(output: str, to: str, storage: Storage) -> int:
    """Write the failed rows of an output as one manifest; return how many there are. Nothing is written if there are none.

    Beside the columns of their manifest they have ``last_error_class``, ``last_message`` and ``last_attempt``, which say what
    became of them; their URIs are absolute, so that the file means the same wherever it lies.

    Args:
        output: folder or prefix of the output.
        to: the Parquet file to write, anywhere.
        storage: how to reach both.

    Raises:
        ConfigError: `to` would not be read as a manifest.
    """
    if not to.lower().endswith(".parquet"):
        raise ConfigError(f"{to}: a manifest of one file must be called something.parquet")
    parts = []
    for job_id, rows in _failed(output, storage, ("error_class", "reason", "attempt")).items():
        part = manifest_rows(load_plan(output, job_id, storage), rows, storage)
        told = {row["sample_id"]: row for row in rows}
        for name, known_as in _LAST.items():
            values = pa.array([told[result_id(sample_id)][known_as] for sample_id in part["sample_id"].to_pylist()], pa.string())
            # A manifest may itself be a file of dead letters: what it says of earlier failures is out of date.
            part = part.drop_columns([name]) if name in part.column_names else part
            part = part.append_column(name, values)
        parts.append(part)
    if not parts:
        return 0
    table = pa.concat_tables(parts, promote_options="default")
    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    storage.write(normalise(to), buffer.getvalue())
    return len(table)


def _failed(output: str, storage: Storage, columns: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the failed rows of an output, with `columns`, by the job they belong to."""
    failed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    table = ResultsTable(output, storage)
    for row in table.rows(("sample_id", "job_id", "shard", *columns), [("status", "=", "failed")]):
        failed[row["job_id"]].append(row)
    return dict(sorted(failed.items()))


def manifest_rows(plan: Plan, results: Sequence[dict[str, Any]], storage: Storage) -> pa.Table:
    """Return the manifest rows that results rows of a job came from, in its order, with URIs that mean the same everywhere."""
    ids = {row["sample_id"] for row in results}
    parts = []
    for shard in sorted({row["shard"] for row in results}):
        rows = read_rows(plan.files, *plan.shard_range(shard), storage)
        parts.append(rows.filter(pa.array([result_id(value) in ids for value in rows["sample_id"].to_pylist()])))
    table = pa.concat_tables(parts)
    for name in ("image", "mask"):
        field = table.schema.field(name)
        values = [absolute_uri(value, plan.base) for value in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table
