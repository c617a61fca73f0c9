"""What lies before a reviewer: rows, their pictures, and what was decided about them.

Nothing is kept but pictures: rows and decisions are read anew whenever a page is opened, and a decision is held against the
table as it is when it comes in.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition
from typing import Annotated, Literal, get_args

import pyarrow as pa
from cachetools import LRUCache, cached
from pydantic import Field, PositiveInt

from repaint_batch.apart import Call
from repaint_batch.config import ImagesConfig, Model, PresetName
from repaint_batch.errors import ConfigError, NothingToResume, SampleError
from repaint_batch.jobs.plan import Plan, load_plan, load_plans
from repaint_batch.outputs.corrected import corrected_mask_uri, images_for
from repaint_batch.outputs.reviews import SESSION_PATTERN, Decision, PictureKey, Reviews, Verdict
from repaint_batch.outputs.sources import Sources
from repaint_batch.report.gallery import MAX_ROWS, Row, packed_json, values_of
from repaint_batch.report.thumbnails import Thumbnails, shrinking
from repaint_batch.review.whole import Rectangle, Whole, decode_whole, mask_bits, mask_png, piece
from repaint_batch.sampler.noise import candidate_seed
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage
from repaint_batch.table.reading import Order, Snapshot
from repaint_batch.table.results import ResultsTable

PICTURE_BYTES = 400_000
"""Bytes that the pictures of a row may take."""
_KEPT = 1000
_WHOLE_BYTES = 5 * 2**28  # of pictures at full size: the largest that is read, or 17 of 12 megapixels, before and after
_SHA256 = r"^[0-9a-f]{64}$"
Side = Literal["before", "after"]
Part = Literal[Side, "hole"]
_PARTS: tuple[Part, ...] = ("before", "after", "hole")
_COLUMNS = [name for name in RESULTS.names if name != "output"]
_HAS_PICTURE = ("status", "!=", "failed")


class Wanted(Model):
    """A decision as a page sends it; the seed as text, since numbers of a browser have 53 bits."""

    sample_id: str
    output_sha256: str
    verdict: Verdict
    preset: PresetName | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    mask_sha256: Annotated[str, Field(pattern=_SHA256)] | None = None


class Batch(Model):
    """Decisions as a page sends them, in the order in which they were taken."""

    session: Annotated[str, Field(pattern=SESSION_PATTERN)]
    number: PositiveInt
    decisions: Annotated[tuple[Wanted, ...], Field(min_length=1, max_length=1000)]


class Desk:
    """An output under review.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
        apart: calls what decodes pictures; several threads do so at once.

    Raises:
        NothingToResume: it holds no results.
    """

    def __init__(self, output: str, storage: Storage, apart: Call) -> None:
        self._apart, self._shrink = apart, shrinking(apart)
        self.output, self._storage = output, storage
        self._table, self._reviews = ResultsTable(output, storage), Reviews(output, storage)
        self._plans = {plan.job_id: plan for plan in load_plans(output, storage)}
        if not self._plans or not self._table.exists():
            raise NothingToResume(f"{output} holds no pictures to review; `repaint-batch run` makes some")
        self._sources = Sources(output, storage, list(self._plans.values()))
        # Whoever asks for a picture that is being made waits for it.
        self._small = cached(LRUCache(_KEPT), condition=Condition())(self._shrunk)
        self._whole = cached(LRUCache(_WHOLE_BYTES, _weight_of), condition=Condition())(self._decoded)

    def rows(self) -> bytes:
        """Return what the page shows, as gzipped JSON: rows with a picture, the likely wrong first, undecided ones at least."""
        decided = self._reviews.latest()
        order: Order = [("risk", "descending"), ("seam_score", "descending"), ("sample_id", "ascending")]

        def worst(rows: Snapshot) -> pa.Table:
            own = [name for name in rows.names if name not in RESULTS.names]
            return rows.read([*_COLUMNS, *own], [_HAS_PICTURE], order, MAX_ROWS + len(decided))

        found = self._table.newest(worst).to_pylist()
        judged = [(row, _holding(decided, row)) for row in found]
        shown = sorted(judged, key=lambda pair: pair[1] is not None)[:MAX_ROWS]
        data = values_of([row for row, _ in shown])
        return packed_json(
            {
                **data,
                "verdicts": [decision and decision.verdict for _, decision in shown],
                "asked": [_asked(decision) for _, decision in shown],
                "made_by": [self._plan(row["job_id"]).config["sampler"]["preset"] for row, _ in shown],
                "next_seed": [str(self._next_seed(row)) for row, _ in shown],
            }
        )

    def picture(self, sample_id: str, output_sha256: str, part: Part) -> bytes | None:
        """Return a small picture of a row; None if there is none, or the row has another picture now."""
        return self._small(sample_id, output_sha256).pictures.parts[_PARTS.index(part)]

    def facts(self, sample_id: str, output_sha256: str) -> dict[str, object] | None:
        """Return what a page must know to show a row's picture at full size; None if there is none, or another one now."""
        before = self._whole(sample_id, output_sha256, "before")
        whole = before or self._whole(sample_id, output_sha256, "after")
        if whole is None:
            return None
        width, height = whole.size
        return {"width": width, "height": height, "stops": whole.stops, "fixed": fixed(before)}

    def piece(self, sample_id: str, output_sha256: str, side: Side, rectangle: Rectangle) -> bytes | None:
        """Return a piece of a row's picture; None if there is none."""
        whole = self._whole(sample_id, output_sha256, side)
        return piece(whole, rectangle) if whole else None

    def mask(self, sample_id: str, output_sha256: str, mask_sha256: str | None) -> bytes | None:
        """Return a mask of a row's picture as rows of bits: the one that it was restored by, or a corrected one by its hash."""
        whole = self._whole(sample_id, output_sha256, "before")
        if whole is None:
            return None
        if mask_sha256 is not None:
            data = self._storage.read(corrected_mask_uri(self.output, whole.sha256, mask_sha256))
            return mask_bits(self._apart, data, whole.size).tobytes()
        width, height = whole.size
        return bytes(height * -(-width // 8)) if whole.hole is None else whole.hole.tobytes()

    def correct(self, sample_id: str, output_sha256: str, mask: bytes) -> str | None:
        """Keep a mask that was drawn for a row's picture, a PNG of one bit and its size; return its hash.

        None if the row has another picture now, or none. The mask that the row was restored by stays where it is.

        Raises:
            ConfigError: the masks of such a picture cannot be corrected here.
            SampleError: it does not fit the picture.
        """
        whole = self._whole(sample_id, output_sha256, "before")
        if whole is None:
            return None
        if (why := fixed(whole)) is not None:
            raise ConfigError(f"{sample_id}: {why}")
        data = mask_png(mask_bits(self._apart, mask, whole.size), whole.size[0])
        digest = hashlib.sha256(data).hexdigest()
        self._storage.create(corrected_mask_uri(self.output, whole.sha256, digest), data)
        return digest

    def decide(self, batch: Batch) -> list[str]:
        """Record decisions; return the samples whose picture is another one by now, about which nothing is recorded.

        Raises:
            ConfigError: a redo that would change nothing, or that there is nothing to redo of.
        """
        rows = {row["sample_id"]: row for row in self._rows_of([wanted.sample_id for wanted in batch.decisions])}
        made, stale = [], []
        for wanted in batch.decisions:
            row = rows.get(wanted.sample_id)
            if row is None or row["output_sha256"] != wanted.output_sha256:
                stale.append(wanted.sample_id)
            else:
                made.append(self._decision(wanted, row))
        if made:
            self._reviews.record(batch.session, batch.number, made)
        return stale

    def tidy(self) -> None:
        """Leave the table of decisions as it is best read."""
        self._reviews.tidy()

    def _decision(self, wanted: Wanted, row: Row) -> Decision:
        preset, seed, mask, image = wanted.preset, wanted.seed, wanted.mask_sha256, None
        if wanted.verdict == "redo":
            if mask is not None:
                image = self._drawn_for(wanted, mask)
            elif row["status"] != "ok":
                raise ConfigError(f"{wanted.sample_id}: its mask has no hole, so there is nothing to redo; correct the mask")
            else:
                image = self._small(wanted.sample_id, wanted.output_sha256).source_sha256
            own = self._plan(row["job_id"]).config["sampler"]["preset"]
            preset = preset or own
            seed = self._next_seed(row) if seed is None else seed
            if mask is None and (preset, seed) == (own, row["seed"]):
                raise ConfigError(f"{wanted.sample_id}: preset {preset} and seed {seed} are what made it; change one of them")
        else:
            preset = seed = mask = None
        return Decision(wanted.sample_id, wanted.output_sha256, row["attempt"], wanted.verdict, preset, seed, image, mask)

    def _drawn_for(self, wanted: Wanted, mask_sha256: str) -> str:
        """Return the hash of the picture that a corrected mask was drawn for, which is this one's.

        Raises:
            ConfigError: there is no such mask.
        """
        whole = self._whole(wanted.sample_id, wanted.output_sha256, "before")
        if whole is None or not self._storage.exists(corrected_mask_uri(self.output, whole.sha256, mask_sha256)):
            raise ConfigError(f"{wanted.sample_id}: its corrected mask {mask_sha256:.12} was not kept; draw it once more")
        return whole.sha256

    def _next_seed(self, row: Row) -> int:
        """Return the first seed that was certainly not tried for this row's picture."""
        candidates = self._plan(row["job_id"]).job_config.sampler.candidates
        return candidate_seed(max(0, row["seed"] or 0), candidates)

    def _plan(self, job_id: str) -> Plan:
        if job_id not in self._plans:  # of a job that began after this desk was set up
            self._plans[job_id] = load_plan(self.output, job_id, self._storage)
            self._sources = Sources(self.output, self._storage, list(self._plans.values()))
        return self._plans[job_id]

    def _rows_of(self, ids: Sequence[str], columns: Sequence[str] = _COLUMNS) -> list[Row]:
        return list(self._table.rows(columns, [("sample_id", "in", list(ids)), _HAS_PICTURE]))

    def _shrunk(self, sample_id: str, output_sha256: str) -> "_Small":
        row = self._row(sample_id, output_sha256)
        if row is None:
            return _Small(Thumbnails(), None)
        before, mask, after = self._sources(row)
        small = self._shrink(before, mask, after, self._images(row), PICTURE_BYTES, 0)
        return _Small(small, None if before is None else hashlib.sha256(before).hexdigest())

    def _images(self, row: Row) -> ImagesConfig:
        return images_for(self._plan(row["job_id"]).job_config.images, self.output, row["mask_uri"])

    def _decoded(self, sample_id: str, output_sha256: str, side: Side) -> Whole | None:
        row = self._row(sample_id, output_sha256)
        if row is None:
            return None
        images, mask = self._images(row), self._sources.given(row, "mask")
        data = self._sources.given(row, "image") if side == "before" else self._sources.output_of(row)
        if data is None:
            return None
        source, output = (data, None) if side == "before" else (None, data)
        try:
            return decode_whole(self._apart, source, mask, output, images, hashlib.sha256(data).hexdigest())
        except SampleError:
            return None

    def _row(self, sample_id: str, output_sha256: str) -> Row | None:
        """Return a row with everything in it; None if it has another picture now."""
        rows = self._rows_of([sample_id], RESULTS.names)
        return rows[0] if rows and rows[0]["output_sha256"] == output_sha256 else None


@dataclass(frozen=True)
class _Small:
    """A row's small pictures, and the hash of the source, as it was when they were made; None if it could not be read."""

    pictures: Thumbnails
    source_sha256: str | None


PRESET_NAMES: tuple[str, ...] = get_args(PresetName)[::-1]
"""Cheapest first."""


def _weight_of(whole: Whole | None) -> float:
    """Return the bytes that a picture takes; what cannot be had now may be had later, and is too much to be kept."""
    return math.inf if whole is None else whole.weight_bytes


def _holding(decided: dict[PictureKey, Decision], row: Row) -> Decision | None:
    decision = decided.get((row["sample_id"], row["output_sha256"]))
    return decision if decision is not None and decision.holds_for(row) else None


def _asked(decision: Decision | None) -> dict[str, str | None] | None:
    if decision is None or decision.verdict != "redo":
        return None
    mask = {"mask_sha256": decision.mask_sha256} if decision.mask_sha256 else {}
    return {"preset": decision.preset, "seed": str(decision.seed), **mask}


def fixed(whole: Whole | None) -> str | None:
    """Return why the mask of a picture, as it came, cannot be corrected here; None if it can."""
    if whole is None:
        return "the source cannot be read, so its mask cannot be corrected"
    if whole.pages > 1:
        return f"the picture has {whole.pages} pages; correct the mask in its own file, and run again"
    return None
