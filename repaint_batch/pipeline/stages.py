"""Decode and encode: what happens to a shard before and after the prior sees it. No Ray here.

A work table has the columns of the results, of which a stage fills in its own, plus those of `WORK`. A row that cannot go
on gets its status and reason here and is passed along untouched.
"""

import contextlib
import hashlib
import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from repaint_batch.config import JobConfig, fingerprint
from repaint_batch.errors import ImageInvalid, MaskInvalid, RepaintBatchError, SourceMissing, Stopped, WorkerKilled, redact
from repaint_batch.images.restoration import Restored, compose, prepare
from repaint_batch.images.windows import PLAN, Window
from repaint_batch.manifest import check_id, image_bytes_or_uri, result_id
from repaint_batch.results.attempts import AttemptLog
from repaint_batch.results.outputs import file_uri, write_tar
from repaint_batch.results.plan import Plan, job_uri
from repaint_batch.schema import RESULTS, passthrough
from repaint_batch.storage import Storage, UriPolicy, normalise

WORK = [
    pa.field("__image", pa.large_binary()),  # encoded, as read
    pa.field("__mask", pa.large_binary()),
    pa.field("__windows", pa.large_binary()),  # (N, R, R, 3) float32 in [-1, 1]; once sampled, of every candidate
    pa.field("__keep", pa.large_binary()),  # (N, R, R) bool, True = known pixel
    pa.field("__plan", pa.string()),  # JSON: the picture's orientation and its N windows
]
PACKED = pa.schema([pa.field("work", pa.large_binary())])
"""A shard on its way between two stages, see `packed`."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What every stage knows.

    Attributes:
        plan: the frozen plan.
        output: normalised folder or prefix of the output.
        passthrough: the manifest's own columns.
        resolution_px: side of the prior's input.
    """

    plan: Plan
    output: str
    passthrough: tuple[pa.Field, ...]
    resolution_px: int

    @property
    def config(self) -> JobConfig:
        """The job's config."""
        return self.plan.job_config()

    @property
    def attempt_log(self) -> AttemptLog:
        """Where attempts leave their traces."""
        return AttemptLog(self.output, self.plan, Storage(self.config.storage))

    @property
    def results_schema(self) -> pa.Schema:
        """Columns that the sink receives."""
        return pa.schema([*RESULTS, *self.passthrough])

    @property
    def work_schema(self) -> pa.Schema:
        """Columns that travel between stages."""
        return pa.schema([*RESULTS, *WORK, *self.passthrough])


def packed(work: pa.Table) -> pa.Table:
    """Return a work table as one row of bytes, so that a batch of one row is a shard: Ray has no other batch for GPUs."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, work.schema) as writer:
        writer.write_table(work)
    data = stream.getvalue()
    offsets = pa.array([0, data.size], pa.int64()).buffers()[1]
    return pa.table([pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])], schema=PACKED)


def unpacked(block: pa.Table) -> pa.Table:
    """Return the work table that `packed` packed."""
    return pa.ipc.open_stream(block["work"][0].as_buffer()).read_all()


def decode(rows: pa.Table, job: Job, shard: int, start: int, attempt: str, quarantined: Mapping[int, str]) -> pa.Table:
    """Return a shard's work table: sources read, windows cut, rows that cannot go on marked.

    Args:
        rows: manifest rows.
        job: what every stage knows.
        shard: the shard they belong to.
        start: the first of them, counted in the manifest.
        attempt: id of this attempt.
        quarantined: reasons why some of `rows`, counted from 0, must not be touched.
    """
    config = job.config
    storage = Storage(config.storage)
    policy = UriPolicy(job.plan.base, tuple(normalise(prefix) for prefix in config.storage.allow))
    names = [field.name for field in passthrough(rows.schema)]
    work = []
    for number, values in enumerate(rows.to_pylist()):
        row: Row = {
            "sample_id": result_id(values["sample_id"]),
            "status": "pending",
            "seed": config.sampler.seed if values.get("seed") is None else values["seed"],
            "job_id": job.plan.job_id,
            "shard": shard,
            "row": start + number,
            "attempt": attempt,
            "prior_fingerprint": job.plan.prior_fingerprint,
            "sampler_fingerprint": job.plan.sampler_fingerprint,
            **{name: values[name] for name in names},
        }
        with _guarded(row, "decode_s"):
            if number in quarantined:
                raise WorkerKilled(quarantined[number])
            _decode_row(row, values, job, config, storage, policy)
        work.append(row)
    return pa.Table.from_pylist(work, schema=job.work_schema)


def _decode_row(row: Row, values: Row, job: Job, config: JobConfig, storage: Storage, policy: UriPolicy) -> None:
    check_id(values["sample_id"])
    limit = config.images.max_bytes
    for name in ("image", "mask"):
        data, uri = image_bytes_or_uri(values[name])
        row[f"{name}_uri"] = redact(uri) if uri else uri
        if data is None:
            if not uri:
                raise SourceMissing(f"{name} is null; give a URI or bytes")
            data = storage.read(policy.resolve(uri), limit)
        elif len(data) > limit:
            raise (ImageInvalid if name == "image" else MaskInvalid)(
                f"{name} has {len(data)} bytes, more than images.max_bytes = {limit}"
            )
        row[f"__{name}"] = data
    image_sha256, mask_sha256 = (hashlib.sha256(row[name]).hexdigest() for name in ("__image", "__mask"))
    row["work_key"] = work_key(row, image_sha256, mask_sha256, config)
    prepared = prepare(row["__image"], row["__mask"], config.images, job.resolution_px, config.output.format)
    row["width_px"], row["height_px"] = prepared.width_px, prepared.height_px
    row["output_format"], row["hole_fraction"] = prepared.format, prepared.hole_fraction
    row["windows"] = len(prepared.windows)
    row["__windows"], row["__keep"] = prepared.windows.tobytes(), prepared.keep_mask.tobytes()
    row["__plan"] = json.dumps([prepared.orientation, [astuple(window) for window in prepared.plan]])


def work_key(row: Mapping[str, Any], image_sha256: str, mask_sha256: str, config: JobConfig) -> str:
    """Return the hash of all that decides a row's result: sources, fingerprints and seed of the row, image settings."""
    decides = [row[name] for name in ("prior_fingerprint", "sampler_fingerprint", "seed", "sample_id")]
    settings = [PLAN, config.images.model_dump(mode="json", exclude_defaults=True), config.output.format]
    return fingerprint(image_sha256, mask_sha256, *decides, settings)


def windows_of(row: Row, resolution_px: int) -> np.ndarray:
    """Return a work row's windows, (N, R, R, 3) float32 in [-1, 1]."""
    return np.frombuffer(row["__windows"], np.float32).reshape(-1, resolution_px, resolution_px, 3)


def keep_masks_of(row: Row, resolution_px: int) -> np.ndarray:
    """Return a work row's keep masks, (N, R, R) bool."""
    return np.frombuffer(row["__keep"], np.bool_).reshape(-1, resolution_px, resolution_px)


def plan_of(row: Row) -> tuple[tuple[Window, ...], int]:
    """Return a work row's plan of windows, and the orientation of its picture."""
    orientation, windows = json.loads(row["__plan"])
    plan = (Window(left, top, side, tuple(duty), turn, parent) for left, top, side, duty, turn, parent in windows)
    return tuple(plan), orientation


def encode(work: pa.Table, job: Job) -> pa.Table:
    """Return a shard's results: restored windows pasted, encoded, hashed; pictures kept outside the table are uploaded too."""
    config = job.config
    storage = Storage(config.storage)
    rows = work.to_pylist()
    for row in rows:
        if row["status"] == "pending":
            with _guarded(row, "encode_s"):
                _encode_row(row, job, config, storage)
    if config.output.images == "webdataset":
        done = [row for row in rows if row["output"] is not None]
        write_tar(job.output, done, [row["output"] for row in done], work["attempt"][0].as_py(), storage)
        for row in done:
            row["output"] = None
    finished_at = datetime.now(UTC)
    results = [{name: row[name] for name in job.results_schema.names} | {"finished_at": finished_at} for row in rows]
    return pa.Table.from_pylist(results, schema=job.results_schema)


def _encode_row(row: Row, job: Job, config: JobConfig, storage: Storage) -> None:
    if row["windows"]:
        done, row["seed"] = _best(row, job, config)
        data, row["output_format"] = done.data, done.format
        row["known_pixels_equal"], row["seam_score"] = done.known_pixels_equal, done.seam_score
        row["largest_known_difference"], row["dropped"] = done.largest_known_difference, list(done.dropped)
        status, reason = "ok", None
    else:
        data, row["known_pixels_equal"], row["nfe"] = row["__image"], True, 0
        row["largest_known_difference"], row["dropped"] = 0.0, []
        status, reason = "skipped", "the mask has no hole; the picture passes through unchanged"
    row["output_sha256"], row["output_bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    if config.output.images == "files":
        row["output_uri"] = file_uri(job.output, row, job.plan.base)
        storage.write(row["output_uri"], data)
    else:
        row["output"] = data
    row["status"], row["reason"] = status, reason


def _best(row: Row, job: Job, config: JobConfig) -> tuple[Restored, int]:
    """Return the candidate with the lowest seam score, and its seed; the first of equals, and where nothing can be told."""
    side = job.resolution_px
    candidates = windows_of(row, side).reshape(-1, row["windows"], side, side, 3)
    composed = (
        compose(row["__image"], row["__mask"], windows, config.images, side, config.output.format) for windows in candidates
    )
    seeded = ((done, _candidate_seed(row["seed"], number)) for number, done in enumerate(composed))
    return min(seeded, key=lambda pair: math.inf if pair[0].seam_score is None else pair[0].seam_score)


def _candidate_seed(seed: int, candidate: int) -> int:
    if candidate == 0:
        return seed
    from repaint_batch.sampler.noise import candidate_seed  # and torch, which most workers can do without

    return candidate_seed(seed, candidate)


def inflight_uri(output: str, job_id: str, shard: int) -> str:
    """Return where a shard's state is kept."""
    return job_uri(output, job_id, "inflight", f"{shard:010d}.safetensors")


@contextlib.contextmanager
def recorded(job: Job, shard: int) -> Iterator[None]:
    """Work on a shard: what is raised is written down for the driver, and a deadline ends the process.

    A thread cannot end a decoder or a kernel that hangs, and after a sticky CUDA error no call in the process succeeds
    any more; the process can end itself, and Ray starts another.
    """
    watchdog = threading.Timer(job.config.compute.shard_deadline_s, lambda: os._exit(1))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Stopped:
        job.attempt_log.clear({shard})  # nobody's fault: it counts against no row
        raise
    except Exception as error:
        if "CUDA error" in str(error):
            os._exit(1)
        job.attempt_log.record_error(shard, error)
        raise
    finally:
        watchdog.cancel()


@contextlib.contextmanager
def _guarded(row: Row, seconds: str) -> Iterator[None]:
    """Time what is done to a row; whatever it raises becomes the row's failure and nobody else's."""
    started = time.perf_counter()
    try:
        yield
    except Exception as error:  # strangers' bytes reach decoders here: any error is this row's alone
        row["status"], row["error_class"] = "failed", type(error).__name__
        known = isinstance(error, RepaintBatchError)
        row["reason"] = redact(str(error) if known else f"unexpected {type(error).__name__}: {error}")
    row[seconds] = time.perf_counter() - started
