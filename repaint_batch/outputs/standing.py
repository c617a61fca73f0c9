"""A job held against what its output holds already: what a run would do there, and what it would have to refuse.

An output belongs to the job that made it. Later runs may add rows that failed, under other settings, and rows that its
manifest did not have; rows that are good stay as they were made.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError
from repaint_batch.jobs.lease import Lease
from repaint_batch.jobs.plan import Plan, load_plans, withdraw
from repaint_batch.manifest import Manifest, absolute_uri, read_rows, result_id
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import hashed_ids
from repaint_batch.uris import join, normalise

_SECTIONS = ("prior", "sampler", "images", "output")
_ARITHMETIC = ("batch_windows", "precision", "compile")
_ALLOWING = ("images.mask_resize", "images.max_bytes", "images.max_pixels", "storage.allow")
"""Settings that let rows pass that failed, and change nothing about those that did not."""
_SPAN_ROWS = 256  # rows that are held at a time


@dataclass(frozen=True)
class ChangedSetting:
    """A setting that is not what it was.

    Attributes:
        key: its name in a config.
        before: what it was.
        after: what it is.
    """

    key: str
    before: Any
    after: Any

    @property
    def is_allowing(self) -> bool:
        """Whether it can only change what becomes of rows that failed."""
        return self.key in _ALLOWING

    def __str__(self) -> str:
        return f"{self.key}: {_plain(self.after)} (was {_plain(self.before)})"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def changes(before: JobConfig, after: JobConfig) -> list[ChangedSetting]:
    """Return the settings, of those that decide what becomes of a row, in which two configs differ."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    keys = [(section, name) for section in _SECTIONS for name in new[section] if (section, name) != ("output", "uri")]
    keys += [("compute", name) for name in _ARITHMETIC]
    found = [
        ChangedSetting(f"{section}.{name}", old[section][name], new[section][name])
        for section, name in keys
        if old[section][name] != new[section][name] and (section, new[section][name]) != ("compute", "auto")
    ]
    more = [prefix for prefix in new["storage"]["allow"] if prefix not in old["storage"]["allow"]]
    allowed = ChangedSetting("storage.allow", ", ".join(old["storage"]["allow"]) or "nothing", ", ".join(more))
    return [*found, allowed] if more else found


@dataclass(frozen=True)
class Standing:
    """What an output holds, as a job finds it.

    Attributes:
        output: folder or prefix of the output.
        job_id: the job there that is most like it; None: the output is empty.
        is_same: whether it is this very job, which goes on.
        changes: settings that are not that job's.
        weights_differ: whether the prior's weights, or what this version makes of the same settings, are not.
        good: rows that are restored or have no hole.
        failed: rows that failed.
        new: rows of the manifest that the table does not hold; none where it is the same manifest.
    """

    output: str
    job_id: str | None
    is_same: bool = False
    changes: tuple[ChangedSetting, ...] = ()
    weights_differ: bool = False
    good: int = 0
    failed: int = 0
    new: Ranges = field(default_factory=Ranges)

    @property
    def is_grown(self) -> bool:
        """Whether the manifest has more rows, under the same settings."""
        return not self.is_same and not self.changes and not self.weights_differ and len(self.new) > 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: all rows are there, under these settings."""
        return not self.is_same and self.job_id is not None and not (self.changes or self.weights_differ or len(self.new))

    @property
    def is_refused(self) -> bool:
        """Whether a run would refuse it."""
        return self.job_id is not None and not (self.is_same or self.is_grown or self.is_settled)

    def words(self, config: str) -> str:
        """Return what a run does, or why it refuses and what to type instead; nothing where there is nothing to say.

        Args:
            config: what to call the job's config.
        """
        if self.job_id is None or self.is_same:
            return ""
        holds = f"{self.output} holds job {self.job_id}"
        if self.is_grown:
            return f"{holds}; the manifest has {len(self.new):,} rows that are not there: `repaint-batch run {config}` adds them"
        if self.is_settled:
            return f"{holds}, with every row of this manifest under these settings"
        return f"{holds}, made under other settings: {self._differences()}; {self._advice(config)}"

    def _differences(self) -> str:
        weights = ["the prior's weights, or what this version makes of the same settings"] if self.weights_differ else []
        return ", ".join([*map(str, self.changes), *weights])

    def _advice(self, config: str) -> str:
        deciding = [change.key for change in self.changes if not change.is_allowing] or (["that"] if self.weights_differ else [])
        good = f"its {self.good:,} good rows"
        stay = f"{good} stay as they are" + (f", although {' and '.join(deciding)} would change them too" if deciding else "")
        ways = [f"choose another output.uri to restore all rows {'that way' if deciding else 'anew'}"]
        if self.failed:
            again = f"`repaint-batch retry-failed {self.output} --config {config}` runs its {self.failed:,} failed rows that way"
            ways = [f"{again} ({stay})", *(ways if deciding else [])]
        if len(self.new):
            ways.append(f"with its own settings `run` would add the {len(self.new):,} rows that are new in the manifest")
        return "; or ".join(ways)


def standing(plan: Plan, manifest: Manifest, storage: Storage) -> Standing:
    """Return what a job's output holds already; nothing is written.

    Args:
        plan: the job, as it would be frozen.
        manifest: its manifest.
        storage: how to reach the output.
    """
    config = plan.job_config
    output = normalise(config.output.uri)
    plans = load_plans(output, storage)
    if not plans:
        return Standing(output, None)
    if any(other.job_id == plan.job_id for other in plans):
        return Standing(output, plan.job_id, is_same=True)
    table = ResultsTable(output, storage)
    counts = table.counts() if table.exists() else {"ok": 0, "skipped": 0, "failed": 0}
    known_manifest = any(other.files == plan.files for other in plans)

    def unlike(other: Plan) -> tuple[tuple[ChangedSetting, ...], bool]:
        found = tuple(change for change in changes(other.job_config, config) if change.key != "storage.allow")
        explained = any(change.key.startswith(("prior.", "sampler.", "compute.")) for change in found)
        weights = (other.prior_fingerprint, other.sampler) != (plan.prior_fingerprint, plan.sampler)
        return found, weights and not explained

    # The latest of those that are most like it: rows that failed may have run under its settings already.
    measured = [(len(found) + weights, number, found, weights) for number, (found, weights) in enumerate(map(unlike, plans))]
    _, number, found, weights = min(measured, key=lambda one: (one[0], -one[1]))
    like = plans[number]
    return Standing(
        output,
        like.job_id,
        changes=found,
        weights_differ=weights,
        good=counts["ok"] + counts["skipped"],
        failed=counts["failed"],
        new=Ranges() if known_manifest and all(_is_done(other, table) for other in plans) else new_rows(manifest, table),
    )


def _is_done(plan: Plan, table: ResultsTable) -> bool:
    return table.exists() and len(table.done(plan)) == plan.rows


def new_rows(manifest: Manifest, table: ResultsTable) -> Ranges:
    """Return the rows of a manifest whose ids a table does not hold."""
    held = np.zeros(0, np.uint64)
    if table.exists():
        parts = [hashed_ids(batch["sample_id"].to_pylist()) for batch in table.snapshot().batches(("sample_id",))]
        held = np.sort(np.concatenate([held, *parts]))
    fresh: list[int] = []
    for start in range(0, manifest.rows, _SPAN_ROWS):
        rows = read_rows(manifest.files, start, min(start + _SPAN_ROWS, manifest.rows), table.storage)
        ids = hashed_ids([result_id(value) for value in rows["sample_id"].to_pylist()])
        fresh += (np.flatnonzero(~np.isin(ids, held)) + start).tolist()
    return Ranges.of_rows(fresh)


def added(plan: Plan, manifest: Manifest, found: Standing, storage: Storage) -> tuple[JobConfig, str, int]:
    """Write rows that an output lacks as a manifest in it; return how to run them, the job they join, and the rows there then.

    What an earlier job left undone is among them, and that job is set aside.

    Raises:
        LeaseHeld: the earlier job is running.
        ConfigError: the manifest has other columns than the table.
    """
    config, output = plan.job_config, found.output
    assert found.job_id is not None
    table = ResultsTable(output, storage)
    known = set(pa.schema(table.open().schema().to_arrow()).names)
    unknown = [field.name for field in passthrough(manifest.schema) if field.name not in known]
    if unknown:
        raise ConfigError(f"{output}: its table has no column {unknown[0]!r}, which the manifest has; remove it there")
    uri = join(output, "added", f"{manifest.fingerprint}.parquet")
    for other in load_plans(output, storage):
        is_own = other.config["input"]["manifest"] == uri
        if not is_own and (other.retry_of is None or other.listed is not None) and not _is_done(other, table):
            with Lease(output, other.job_id, storage):
                withdraw(other, output, storage)
    if not storage.exists(uri):
        _write(manifest, found.new.spans, uri, storage)
    allow = dict.fromkeys((*config.storage.allow, manifest.base))
    update = {
        "input": config.input.model_copy(update={"manifest": uri}),
        "storage": config.storage.model_copy(update={"allow": tuple(allow)}),
    }
    return config.model_copy(update=update), found.job_id, found.good + found.failed + len(found.new)


def _write(manifest: Manifest, spans: Iterable[tuple[int, int]], uri: str, storage: Storage) -> None:
    """Write rows of a manifest as one of their own, with URIs that mean the same everywhere."""
    with tempfile.TemporaryDirectory(prefix="repaint-batch-") as scratch:
        path = Path(scratch) / "manifest.parquet"
        writer: pq.ParquetWriter | None = None
        for start, stop in Ranges.of(*spans).cut(_SPAN_ROWS):
            rows = read_rows(manifest.files, start, stop, storage)
            for name in ("image", "mask"):
                field = rows.schema.field(name)
                values = [absolute_uri(value, manifest.base) for value in rows[name].to_pylist()]
                rows = rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))
            writer = writer or pq.ParquetWriter(path, rows.schema, write_page_checksum=True)
            writer.write_table(rows)
        assert writer is not None
        writer.close()
        storage.upload(uri, os.fspath(path))


def retried(output: str, plan: Plan, settings: JobConfig) -> tuple[JobConfig, list[ChangedSetting]]:
    """Return a config by which failed rows of a job run under other settings, and what those change.

    The manifest, and where results are kept, stay the job's.

    Raises:
        ConfigError: the settings are another output's.
    """
    if normalise(settings.output.uri) != normalise(output):
        raise ConfigError(f"--config: its output.uri is {settings.output.uri}, not {output}; give the config of that output")
    own = plan.job_config
    images = {"uri": own.output.uri, "images": own.output.images}
    allow = tuple(dict.fromkeys((*settings.storage.allow, *own.storage.allow)))
    update = {
        "input": own.input,
        "output": settings.output.model_copy(update=images),
        "storage": settings.storage.model_copy(update={"allow": allow}),
    }
    taken = settings.model_copy(update=update)
    return taken, changes(own, taken)


def told(plan: Plan, made: list[ChangedSetting], failed: int, good: int) -> list[str]:
    """Return in words under which settings failed rows run again, and what these would mean for rows that are good.

    Args:
        plan: the job they failed in.
        made: settings that changed.
        failed: rows that run again.
        good: rows of the output that are good.
    """
    if not made:
        return [f"no setting differs from those of job {plan.job_id}: its {failed:,} failed rows run again as they were"]
    lines = [f"{failed:,} failed rows of job {plan.job_id} run again with {', '.join(map(str, made))}"]
    deciding = [change.key for change in made if not change.is_allowing]
    if deciding and good:
        lines.append(
            f"{' and '.join(deciding)} would also change the {good:,} good rows, which stay as they are: "
            "choose another output.uri to restore them all that way"
        )
    return lines

