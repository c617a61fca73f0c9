"""Everything an output claims, read again: its table against its plans, its files against its table, its pictures against
their sources.

A row that any job has planned is in the table, from that job or from another, unless a night has taken it out since. One shard
at a time is held in memory, and the ids of rows that ran again.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from repaint_batch.config import ImagesConfig, JobConfig
from repaint_batch.errors import ManifestError, NothingToResume, RepaintBatchError, redact
from repaint_batch.images.codec import read_picture
from repaint_batch.images.encoding import is_lossless
from repaint_batch.images.paging import read_job
from repaint_batch.images.witness import largest_known_difference
from repaint_batch.jobs.plan import Plan, load_plans, load_withdrawn
from repaint_batch.manifest import image_bytes_or_uri, read_rows, result_id
from repaint_batch.outputs.corrected import config_for
from repaint_batch.outputs.history import removed_ids
from repaint_batch.outputs.naming import masks_prefix, read_output
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import UriPolicy, normalise

_KEPT = 100
_STATUSES = ("ok", "skipped", "failed")
Row = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    Attributes:
        kind: ``manifest``, ``missing``, ``duplicate``, ``foreign``, ``row``, ``object``, ``hash``, ``picture``, ``known
            pixels`` or ``source``.
        sample_id: the row; None where it is not about one.
        message: what is wrong.
    """

    kind: str
    sample_id: str | None
    message: str


@dataclass
class Verification:
    """What was checked, and what was found.

    Attributes:
        planned: rows of the manifest.
        rows: rows of the table, by status.
        output_bytes: bytes of restored pictures that were read and hashed.
        compared: pictures whose known pixels were compared with their source's.
        kinds: problems by kind.
        problems: the first of them.
    """

    planned: int
    rows: Counter[str] = field(default_factory=Counter)
    output_bytes: int = 0
    compared: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is among the first."""
        self.kinds[problem.kind] += 1
        if len(self.problems) < _KEPT:
            self.problems.append(problem)

    @property
    def exit_code(self) -> int:
        """0: all is as it should be; 1: something is not."""
        return 1 if self.kinds else 0


def verify(output: str, storage: Storage, progress: Callable[[int, int], None] = lambda done, of: None) -> Verification:
    """Return what a second look at everything in an output finds.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it, and the sources.
        progress: told the shards done and all of them, after each.

    Raises:
        NothingToResume: there is no job in it, or no table yet.
    """
    plans = load_plans(output, storage)
    table = ResultsTable(output, storage)
    if not plans or not table.exists():
        raise NothingToResume(f"{output} holds no results to verify; `repaint-batch run` makes some")
    return _Verifier(normalise(output), plans, table, storage).run(progress)


class _Verifier:
    def __init__(self, output: str, plans: list[Plan], table: ResultsTable, storage: Storage) -> None:
        self._output, self._plans, self._storage = output, plans, storage
        # One version of the table for all questions, whatever is committed meanwhile.
        self._rows = table.snapshot()
        self._found = Verification(plans[0].rows)
        # What a withdrawn job has done before may still be there; what it has not done is asked of nobody.
        self._withdrawn = load_withdrawn(output, storage)
        self._removed = removed_ids(output, storage)
        self._lost: dict[str, str] = {}
        """Rows of later jobs that are not in the table as such: where they were planned."""

    def run(self, progress: Callable[[int, int], None]) -> Verification:
        first, *later = self._plans
        shards = self._rows.count_by("job_id", "shard").keys()
        known = {(plan.job_id, shard) for plan in (*self._plans, *self._withdrawn) for shard in range(plan.shards)}
        for job_id, shard in sorted(shards - known):
            self._add("foreign", None, f"the table holds rows of shard {shard} of job {job_id}, which was never planned")
        # Rows that ran again stand under their later job; they are few.
        superseding = self._rows.read(["sample_id"], [("job_id", "!=", first.job_id)])
        again = Counter(superseding["sample_id"].to_pylist())
        for sample_id, times in again.items():
            if times > 1:
                self._add("duplicate", sample_id, f"{times} rows of later jobs have this id")
        unplanned = set(again)
        left = [(plan, shard) for plan in self._withdrawn for shard in range(plan.shards) if (plan.job_id, shard) in shards]
        # The first job last: what later ones have not done is there as it was.
        work = [*left, *((plan, shard) for plan in (*later, first) for shard in range(plan.shards))]
        for done, (plan, shard) in enumerate(work, 1):
            unplanned -= self._check_shard(plan, shard, again)
            progress(done, len(work))
        for sample_id in sorted(unplanned):
            self._add("foreign", sample_id, "the manifest has no such row")
        for sample_id, planned in sorted(self._lost.items()):
            self._add("missing", sample_id, f"planned in {planned}, and not in the table")
        if any(plan.listed is not None for plan in self._plans):  # nights add rows and take some out, grown manifests add some
            self._found.planned = self._found.rows.total() + self._found.kinds["missing"]
        return self._found

    def _check_shard(self, plan: Plan, shard: int, again: Counter[str]) -> set[str]:
        """Check a shard's rows; return the ids that its manifest has. `again`: how many rows of later jobs have an id."""
        start, stop = plan.shard_range(shard)
        values: dict[str, Row] = {}
        try:
            manifest = read_rows(plan.files, start, stop, self._storage)
            values = {result_id(row["sample_id"]): row for row in manifest.to_pylist()}
        except (ManifestError, OSError, pa.ArrowException) as error:
            self._add("manifest", None, f"rows {start} to {stop}: {error}")
        of_shard = [("job_id", "=", plan.job_id), ("shard", "=", shard)]
        rows = self._rows.read(where=of_shard, order=[("sample_id", "ascending")]).to_pylist()
        times = Counter(row["sample_id"] for row in rows)
        for sample_id, count in times.items():
            count += again[sample_id] if plan is self._plans[0] else 0
            if count > 1:
                self._add("duplicate", sample_id, f"{count} rows have this id")
            if values and sample_id not in values:
                self._add("foreign", sample_id, f"shard {shard} of job {plan.job_id} has no such row in its manifest")
            self._lost.pop(sample_id, None)
        if plan not in self._withdrawn:
            planned_at = datetime.fromisoformat(plan.created_at)
            for sample_id in values.keys() - times.keys() - again.keys():
                if sample_id not in self._removed or self._removed[sample_id] < planned_at:
                    self._lost[sample_id] = f"shard {shard} of job {plan.job_id}"
        self._check_rows(plan, start, rows, values)
        return set(values)

    def _check_rows(self, plan: Plan, start: int, rows: Sequence[Row], values: dict[str, Row]) -> None:
        """Check rows of a shard, each for itself. `values`: of its manifest, by id; `start`: number of the first of them."""
        config = plan.job_config
        allow = (*config.storage.allow, masks_prefix(self._output))
        policy = UriPolicy(plan.base, tuple(normalise(prefix) for prefix in allow))
        places = {sample_id: start + number for number, sample_id in enumerate(values)}
        for row in rows:
            self._found.rows[row["status"]] += 1
            place = places.get(row["sample_id"], row["row"])
            if row["row"] != place:
                self._add("row", row["sample_id"], f"it says row {row['row']} of its manifest, and is row {place}")
            if values and row["sample_id"] not in values:
                continue  # foreign, which is said above
            source = values.get(row["sample_id"]) or {"image": row["image_uri"], "mask": row["mask_uri"]}
            if image_bytes_or_uri(source["mask"]) == (None, None):  # it was found
                source = {**source, "mask": row["mask_uri"]}
            for kind, message in self._wrong(row, source, config_for(config, self._output, row["mask_uri"]), policy):
                self._add(kind, row["sample_id"], message)

    def _wrong(self, row: Row, source: Row, config: JobConfig, policy: UriPolicy) -> Iterator[tuple[str, str]]:
        """Yield (kind, message) of everything that is wrong with a row."""
        if row["status"] not in _STATUSES:
            yield "row", f"its status is {row['status']!r}"
        elif row["status"] == "failed":
            if not (row["error_class"] and row["reason"]):
                yield "row", "it failed without a reason"
            if row["output"] is not None or row["output_uri"] is not None:
                yield "row", "it failed, and has a picture all the same"
        else:
            try:
                data = read_output(row, self._output, self._storage)
            except RepaintBatchError as error:
                yield "object", str(error)
                return
            self._found.output_bytes += len(data)
            if (hashlib.sha256(data).hexdigest(), len(data)) != (row["output_sha256"], row["output_bytes"]):
                yield "hash", f"{len(data)} bytes that are not the {row['output_bytes']} bytes which were written"
                return
            try:
                picture = read_picture(data, ImagesConfig(max_bytes=max(1, len(data)), frames="first"))
            except Exception as error:  # decoders raise what they like at bytes that are not what they should be
                yield "picture", _told(error)
                return
            facts = (picture.format, *picture.size)
            if facts != (row["output_format"], row["width_px"], row["height_px"]):
                yield "picture", f"{facts} where the row says {row['output_format'], row['width_px'], row['height_px']}"
            yield from self._differs(row, data, source, config, policy)

    def _differs(self, row: Row, data: bytes, source: Row, config: JobConfig, policy: UriPolicy) -> Iterator[tuple[str, str]]:
        try:
            image = self._source(source["image"], config, policy)
            if row["status"] == "skipped":
                self._found.compared += 1
                if data != image:
                    yield "known pixels", "it was to pass through unchanged, and differs from its source"
                return
            pages = read_job(image, self._source(source["mask"], config, policy), config.images)
        except Exception as error:  # likewise
            yield "source", f"cannot be compared with its source: {_told(error)}"
            return
        self._found.compared += 1
        try:
            largest = max(largest_known_difference(page, keep, data, i) for i, (page, keep) in enumerate(pages))
        except Exception as error:  # likewise
            yield "known pixels", f"they cannot be proven: {_told(error)}"
            return
        allowed = 0 if is_lossless(row["output_format"]) else row["largest_known_difference"]
        if not row["known_pixels_equal"]:
            yield "known pixels", "the row itself says that they changed"
        if allowed is None or largest > allowed:
            yield "known pixels", f"they differ from the source's by up to {largest:g}, where {allowed or 0:g} is recorded"

    def _source(self, value: Any, config: JobConfig, policy: UriPolicy) -> bytes:
        data, uri = image_bytes_or_uri(value)
        if data is not None:
            return data
        return policy.read(uri or "", self._storage, config.images.max_bytes)

    def _add(self, kind: str, sample_id: str | None, message: str) -> None:
        self._found.add(Problem(kind, sample_id, message))


def _told(error: Exception) -> str:
    return redact(str(error) if isinstance(error, RepaintBatchError) else f"unexpected {type(error).__name__}: {error}")
