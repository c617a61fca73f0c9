"""One row once more, in this process and without Ray, to see whether it comes out the same.

Noise is keyed by seed, sample and window, and the network sees batches of one shape, so a row restored alone has the same
bytes as one that shared its batches, on the same kind of machine with the same libraries. Another processor, GPU or version
of torch rounds differently.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from torch import Tensor

from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.manifest import read_rows, result_id
from repaint_batch.pipeline.actor import Restorer, load_for
from repaint_batch.pipeline.stages import Job, Row, decode, encode, plan_of
from repaint_batch.results.plan import Plan, load_plan
from repaint_batch.results.table import ResultsTable
from repaint_batch.sampler.repaint import ChainState, OnStep
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage, normalise


@dataclass(frozen=True)
class Replay:
    """A row restored again.

    Attributes:
        row: as the table has it.
        again: as it came out now; its picture is in ``output``, and nothing of it was stored.
    """

    row: Row
    again: Row

    @property
    def is_equal(self) -> bool:
        """Whether it came out byte for byte as recorded."""
        names = ("status", "output_sha256", "output_bytes")
        return all(self.row[name] == self.again[name] for name in names)

    @property
    def difference(self) -> str | None:
        """What is different, and why that may be; None if nothing is."""
        if self.is_equal:
            return None
        if self.again["status"] == "failed":
            return f"it fails now: {self.again['error_class']}: {self.again['reason']}"
        if self.again["work_key"] != self.row["work_key"]:
            return "the picture, the mask or a setting is not what it was when the row was restored"
        return (
            "the same work came out differently; expected on another kind of machine or with other versions of the libraries, "
            "otherwise the recorded picture was tampered with or the computation is not repeatable"
        )


Watch = Callable[[int, int], OnStep]
"""Asked once, with the steps of the path and the windows of the first round, for what is shown every state of the first batch."""


class _Watcher:
    """Shows the states of the first batch, in which a row's windows come first, and keeps none."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def load(self) -> tuple[None, None]:
        return None, None

    def save(self, restored: Sequence[Tensor], state: ChainState) -> None:
        if not restored:
            self._on_step(state)


def replay(output: str, sample_id: str, storage: Storage, watch: Watch | None = None) -> Replay:
    """Return a row as recorded and as it comes out of its manifest, prior and settings now; nothing is written.

    Args:
        output: folder or prefix of the output.
        sample_id: the row.
        storage: how to reach it.
        watch: who wants to see the restoration; not asked where there is none to see.

    Raises:
        NothingToResume: the table has no such row.
        ConfigError: the row failed, so that there is nothing to compare with, or the prior is another one now.
    """
    row = _recorded(output, sample_id, storage)
    if row["status"] == "failed":
        raise ConfigError(f"{sample_id} failed ({row['error_class']}): no picture to compare with; `retry-failed` runs it again")
    plan = load_plan(output, row["job_id"], storage)
    # Into the row, whatever the job says: files of the output are not to be written over.
    config = {**plan.config, "output": {**plan.config["output"], "images": "table"}}
    plan = replace(plan, config={**config, "storage": {**config["storage"], **_reached(storage)}})
    manifest = _manifest_row(plan, row, storage)
    prior = load_for(plan.job_config())
    if prior.fingerprint != plan.prior_fingerprint:
        source = plan.config["prior"]["source"]
        raise ConfigError(f"prior.source: {source} has other weights than when {sample_id} was restored; put those back")
    job = Job(plan, normalise(output), tuple(passthrough(manifest.schema)), prior.resolution_px)
    work = decode(manifest, job, row["shard"], row["row"], row["attempt"], {})
    rows: list[Row] = work.to_pylist()
    if rows[0]["status"] == "pending" and rows[0]["windows"]:
        restorer = Restorer(job, prior, max(1, round(plan.job_config().compute.num_cpus or 1)))
        first = sum(window.parent is None for window in plan_of(rows[0])[0])
        watcher = _Watcher(watch(restorer.positions, first)) if watch else None
        restorer.restore(rows, resumable=False, watcher=watcher)
    again = encode(pa.Table.from_pylist(rows, schema=job.work_schema), job).to_pylist()[0]
    return Replay(row, again)


def _recorded(output: str, sample_id: str, storage: Storage) -> Row:
    table = ResultsTable(output, storage)
    columns = ("sample_id", "status", "error_class", "job_id", "shard", "attempt", "work_key", "output_sha256", "output_bytes")
    found = list(table.rows(columns, [("sample_id", "=", sample_id)])) if table.exists() else []
    if not found:
        raise NothingToResume(f"{sample_id!r:.200}: no such row in {output}; check the sample_id")
    return found[0]


def _manifest_row(plan: Plan, row: Row, storage: Storage) -> Any:
    rows = read_rows(plan.files, *plan.shard_range(row["shard"]), storage)
    ids = [result_id(value) for value in rows["sample_id"].to_pylist()]
    return rows.slice(ids.index(row["sample_id"]), 1)


def _reached(storage: Storage) -> dict[str, Any]:
    """Return the settings by which `storage` was told to reach the store, where it was."""
    return {name: value for name, value in storage.config.model_dump(mode="json").items() if value}
