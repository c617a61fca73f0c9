"""Decode and encode: what happens to rows before and after the prior sees them. No Ray here.

A row that cannot go on gets its status and reason by `guarding.guarded` and is passed along untouched.
"""

import hashlib
import math
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from repaint_batch.config import JobConfig, fingerprint
from repaint_batch.errors import ImageInvalid, MaskInvalid, SourceMissing, WorkerKilled, redact
from repaint_batch.images.provenance import Provenance
from repaint_batch.images.restoration import VERSION, Restored, compose, prepare
from repaint_batch.manifest import check_id, image_bytes_or_uri, result_id
from repaint_batch.outputs.corrected import CHANGED, config_for, corrected
from repaint_batch.outputs.naming import file_uri, found_mask_uri, masks_prefix, write_tar
from repaint_batch.pipeline.guarding import guarded
from repaint_batch.pipeline.job import PARCEL_BYTES, Job, Row
from repaint_batch.pipeline.packing import put_windows, restored_of
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, normalise

_FETCHES = 8  # sources of a unit that are read at once; the store's answers are what decoding waits for


def decode(
    rows: pa.Table, job: Job, start: int, quarantined: Mapping[int, str] = {}, saved: frozenset[int] = frozenset()
) -> Iterator[pa.Table]:
    """Yield parcels: sources read, windows cut, rows that cannot go on marked.

    Args:
        rows: consecutive manifest rows of one shard.
        job: what every stage knows.
        start: number of the first in the manifest.
        quarantined: reasons why some rows, by number, must not be touched.
        saved: numbers of rows whose sampling was interrupted and its state saved.
    """
    reader = _Reader.of(job, [field.name for field in passthrough(rows.schema)])
    parcel: list[Row] = []
    size = 0
    with ThreadPoolExecutor(_FETCHES) as pool:
        fetched = _ahead(pool, reader, list(enumerate(rows.to_pylist(), start)), quarantined)
        for number, row in fetched:
            row |= {"shard": number // job.plan.shard_rows, "row": number, "__saved": number in saved}
            if row["status"] == "pending":
                with guarded(row, "decode_s"):
                    _cut(row, job)
            taken = sum(len(row.get(name) or b"") for name in ("__image", "__mask", "__windows", "__keep"))
            if parcel and size + taken > PARCEL_BYTES:
                yield _parcel(parcel, job)
                size = 0
            parcel.append(row)
            size += taken
            if size > PARCEL_BYTES:  # at once: while the next row is decoded nothing of this one is held
                del row
                yield _parcel(parcel, job)
                size = 0
    if parcel:
        yield _parcel(parcel, job)


def _parcel(rows: list[Row], job: Job) -> pa.Table:
    """Return rows as a parcel, and leave none in the list."""
    attempt = uuid.uuid4().hex[:12]  # its own for every parcel: names of what is written hold it
    for row in rows:
        row["attempt"] = attempt
    parcel = pa.Table.from_pylist(rows, schema=job.work_schema)
    rows.clear()
    return parcel


def _ahead(
    pool: ThreadPoolExecutor, reader: "_Reader", rows: list[tuple[int, Row]], quarantined: Mapping[int, str]
) -> Iterator[tuple[int, Row]]:
    """Yield rows with their sources, in order, while the next few are being read."""
    waiting = [pool.submit(reader.read, values, quarantined.get(number)) for number, values in rows[:_FETCHES]]
    for at, (number, _) in enumerate(rows):
        if at + _FETCHES < len(rows):
            later, values = rows[at + _FETCHES]
            waiting.append(pool.submit(reader.read, values, quarantined.get(later)))
        yield number, waiting.pop(0).result()


@dataclass(frozen=True)
class _Reader:
    """Reads the sources of rows; used by several threads at once."""

    job: Job
    config: JobConfig
    storage: Storage
    policy: UriPolicy
    names: list[str]

    @classmethod
    def of(cls, job: Job, names: list[str]) -> "_Reader":
        config = job.config
        allow = (*config.storage.allow, masks_prefix(job.output))
        policy = UriPolicy(job.plan.base, tuple(normalise(prefix) for prefix in allow))
        return cls(job, config, job.storage, policy, names)

    def read(self, values: Row, quarantined: str | None) -> Row:
        """Return the work row of a manifest row, with the bytes of its picture and mask."""
        plan = self.job.plan
        row: Row = {
            "sample_id": result_id(values["sample_id"]),
            "status": "pending",
            "seed": self.config.sampler.seed if values.get("seed") is None else values["seed"],
            "job_id": plan.job_id,
            "prior_fingerprint": plan.prior_fingerprint,
            "sampler_fingerprint": plan.sampler_fingerprint,
            **{name: values[name] for name in self.names},
        }
        with guarded(row, "decode_s"):
            if quarantined is not None:
                raise WorkerKilled(quarantined)
            check_id(values["sample_id"])
            for name in ("image", "mask"):
                if name == "image" or self.config.images.masks is None or image_bytes_or_uri(values[name]) != (None, None):
                    row[f"__{name}"] = self._bytes(row, name, values[name])
        return row

    def _bytes(self, row: Row, name: str, value: Any) -> bytes:
        limit = self.config.images.max_bytes
        data, uri = image_bytes_or_uri(value)
        row[f"{name}_uri"] = redact(uri) if uri else uri
        if data is None:
            if not uri:
                raise SourceMissing(f"{name} is null; give a URI or bytes")
            self.policy.resolve(uri)
            row[f"{name}_uri"] = uri  # which has no credentials, or would have been refused
            return self.policy.read(uri, self.storage, limit)
        if len(data) > limit:
            raise (ImageInvalid if name == "image" else MaskInvalid)(
                f"{name} has {len(data)} bytes, more than images.max_bytes = {limit}"
            )
        return data


def _cut(row: Row, job: Job) -> None:
    config = config_for(job.config, job.output, row.get("mask_uri"))
    image_sha256 = hashlib.sha256(row["__image"]).hexdigest()
    drawn_for = corrected(job.output, row.get("mask_uri"))
    if drawn_for is not None and drawn_for.image_sha256 != image_sha256:
        raise MaskInvalid(f"mask: it was drawn for another picture: {CHANGED}")
    if row.get("__mask") is None:
        row["work_key"] = work_key(row, image_sha256, None, config)
        _find(row, job)
    else:
        row["work_key"] = work_key(row, image_sha256, hashlib.sha256(row["__mask"]).hexdigest(), config)
    prepared = prepare(row["__image"], row["__mask"], config.images, job.resolution_px, config.output.format)
    row["width_px"], row["height_px"] = prepared.width_px, prepared.height_px
    row["output_format"], row["hole_fraction"] = prepared.format, prepared.hole_fraction
    put_windows(row, prepared)


def _find(row: Row, job: Job) -> None:
    """Give a row without a mask the mask of what is found; it is kept once the row is encoded."""
    from repaint_batch.damage.finding import NOTHING_FOUND, find_in, found_mask  # and torch, which others can do without

    images = job.config.images
    if images.masks is None:
        raise AssertionError("a row without a mask has failed where none is to be found")
    found, picture = find_in(row["__image"], images.masks, images)
    row["__mask"] = found_mask(found, picture, images)
    if found.hole.any():
        row["mask_uri"] = found_mask_uri(job.output, row["__mask"])
    else:
        row["reason"] = NOTHING_FOUND


def work_key(row: Mapping[str, Any], image_sha256: str, mask_sha256: str | None, config: JobConfig) -> str:
    """Return the hash of all that decides a row's result: sources, fingerprints and seed of the row, image settings.

    A mask that is found, None, is decided by how it is looked for.
    """
    if mask_sha256 is None and config.images.masks is not None:
        from repaint_batch.damage.finding import finder_fingerprint

        mask_sha256 = finder_fingerprint(config.images.masks)
    decides = [row[name] for name in ("prior_fingerprint", "sampler_fingerprint", "seed", "sample_id")]
    settings = [VERSION, config.images.model_dump(mode="json", exclude_defaults=True), config.output.format]
    if config.output.provenance != "none":
        settings.append(config.output.provenance)
    return fingerprint(image_sha256, mask_sha256, *decides, settings)


def encode(work: pa.Table, job: Job) -> pa.Table:
    """Return a parcel's results: restored windows pasted, encoded, hashed; pictures kept outside the table are uploaded too."""
    storage = job.storage
    rows = work.to_pylist()
    for row in rows:
        if row["status"] == "pending":
            with guarded(row, "encode_s"):
                _encode_row(row, job, storage)
    if job.config.output.images == "webdataset":
        done = [row for row in rows if row["output"] is not None]
        write_tar(job.output, done, [row["output"] for row in done], work["attempt"][0].as_py(), storage)
        for row in done:
            row["output"] = None
    finished_at = datetime.now(UTC)
    results = [{name: row[name] for name in job.results_schema.names} | {"finished_at": finished_at} for row in rows]
    return pa.Table.from_pylist(results, schema=job.results_schema)


def _encode_row(row: Row, job: Job, storage: Storage) -> None:
    config = config_for(job.config, job.output, row["mask_uri"])
    if row["windows"]:
        done, row["seed"] = _best(row, job, config)
        data, row["output_format"] = done.data, done.format
        row["known_pixels_equal"], row["seam_score"] = done.known_pixels_equal, done.seam_score
        row["risk"], row["risk_reason"] = done.risk.score, done.risk.reason
        row["largest_known_difference"], row["dropped"] = done.largest_known_difference, list(done.dropped)
        status, reason = "ok", None
    else:
        data, row["known_pixels_equal"], row["nfe"] = row["__image"], True, 0
        row["largest_known_difference"], row["dropped"] = 0.0, []
        status, reason = "skipped", row["reason"] or "the mask has no hole; the picture passes through unchanged"
    row["output_sha256"], row["output_bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    if status == "ok" and (row["mask_uri"] or "").startswith(masks_prefix(job.output)):
        storage.create(row["mask_uri"], row["__mask"])
    if config.output.images == "files":
        row["output_uri"] = file_uri(job.output, row, job.plan.base)
        storage.write(row["output_uri"], data)
    else:
        row["output"] = data
    row["status"], row["reason"] = status, reason


def _best(row: Row, job: Job, config: JobConfig) -> tuple[Restored, int]:
    """Return the candidate with the lowest seam score, and its seed; the first of equals, and where nothing can be told."""
    side = job.resolution_px
    seeds = [_candidate_seed(row["seed"], number) for number in range(config.sampler.candidates)]
    made_by = [_provenance(row, seed) if config.output.provenance == "xmp" else None for seed in seeds]
    composed = (
        compose(row["__image"], row["__mask"], windows, config.images, side, config.output.format, maker)
        for windows, maker in zip(restored_of(row, side), made_by, strict=True)
    )
    seeded = zip(composed, seeds, strict=True)
    return min(seeded, key=lambda pair: math.inf if pair[0].seam_score is None else pair[0].seam_score)


def _provenance(row: Row, seed: int) -> Provenance:
    return Provenance(row["prior_fingerprint"], row["sampler_fingerprint"], row["job_id"], row["sample_id"], seed)


def _candidate_seed(seed: int, candidate: int) -> int:
    if candidate == 0:
        return seed
    from repaint_batch.sampler.noise import candidate_seed  # and torch, which most workers can do without

    return candidate_seed(seed, candidate)
