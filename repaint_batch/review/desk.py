"""What lies before a reviewer: rows, their pictures, and what was decided about them.

Nothing is kept but small pictures: rows and decisions are read anew whenever a page is opened, and a decision is held
against the table as it is when it comes in.
"""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Annotated, Literal, get_args

import pyarrow as pa
from pydantic import Field, PositiveInt

from repaint_batch.config import Model, PresetName
from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.jobs.plan import Plan, load_plan, load_plans
from repaint_batch.outputs.reviews import SESSION_PATTERN, Decision, PictureKey, Reviews, Verdict
from repaint_batch.outputs.sources import Sources
from repaint_batch.report.gallery import MAX_ROWS, Row, packed_json, values_of
from repaint_batch.report.thumbnails import Shrink, Thumbnails
from repaint_batch.sampler.noise import candidate_seed
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage
from repaint_batch.table.reading import Order, Snapshot
from repaint_batch.table.results import ResultsTable

PICTURE_BYTES = 400_000
"""Bytes that the pictures of a row may take."""
_KEPT = 1000
_PARTS = ("before", "after", "hole")
Part = Literal["before", "after", "hole"]
_COLUMNS = [name for name in RESULTS.names if name != "output"]
_HAS_PICTURE = ("status", "!=", "failed")


class Wanted(Model):
    """A decision as a page sends it; the seed as text, since numbers of a browser have 53 bits."""

    sample_id: str
    output_sha256: str
    verdict: Verdict
    preset: PresetName | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None


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
        shrink: makes small pictures; several threads call it at once.

    Raises:
        NothingToResume: it holds no results.
    """

    def __init__(self, output: str, storage: Storage, shrink: Shrink) -> None:
        self._shrink = shrink
        self.output, self._storage = output, storage
        self._table, self._reviews = ResultsTable(output, storage), Reviews(output, storage)
        self._plans = {plan.job_id: plan for plan in load_plans(output, storage)}
        if not self._plans or not self._table.exists():
            raise NothingToResume(f"{output} holds no pictures to review; `repaint-batch run` makes some")
        self._sources = Sources(output, storage, list(self._plans.values()))
        self._lock = Lock()
        self._pictures: OrderedDict[PictureKey, Future[Thumbnails]] = OrderedDict()

    def rows(self) -> bytes:
        """Return what the page shows, as gzipped JSON: rows with a picture, the worst seams first, undecided ones at least."""
        decided = self._reviews.latest()
        order: Order = [("seam_score", "descending"), ("sample_id", "ascending")]

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
        key = sample_id, output_sha256
        with self._lock:
            made = self._pictures.get(key)
            if made is None:
                made, mine = Future(), True
                self._pictures[key] = made
                if len(self._pictures) > _KEPT:
                    self._pictures.popitem(last=False)
            else:
                self._pictures.move_to_end(key)
                mine = False
        if mine:
            # Whoever asks for another part of it meanwhile waits for this.
            try:
                made.set_result(self._thumbnails(key))
            except BaseException as error:
                made.set_exception(error)
                self._pictures.pop(key, None)
        return made.result().parts[_PARTS.index(part)]

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
        preset, seed = wanted.preset, wanted.seed
        if wanted.verdict == "redo":
            if row["status"] != "ok":
                raise ConfigError(f"{wanted.sample_id}: its mask has no hole, so there is nothing to redo; mend the mask")
            own = self._plan(row["job_id"]).config["sampler"]["preset"]
            preset = preset or own
            seed = self._next_seed(row) if seed is None else seed
            if (preset, seed) == (own, row["seed"]):
                raise ConfigError(f"{wanted.sample_id}: preset {preset} and seed {seed} are what made it; change one of them")
        else:
            preset = seed = None
        return Decision(wanted.sample_id, wanted.output_sha256, row["attempt"], wanted.verdict, preset, seed)

    def _next_seed(self, row: Row) -> int:
        """Return the first seed that was certainly not tried for this row's picture."""
        candidates = self._plan(row["job_id"]).job_config().sampler.candidates
        return candidate_seed(max(0, row["seed"] or 0), candidates)

    def _plan(self, job_id: str) -> Plan:
        if job_id not in self._plans:  # of a job that began after this desk was set up
            self._plans[job_id] = load_plan(self.output, job_id, self._storage)
            self._sources = Sources(self.output, self._storage, list(self._plans.values()))
        return self._plans[job_id]

    def _rows_of(self, ids: Sequence[str], columns: Sequence[str] = _COLUMNS) -> list[Row]:
        return list(self._table.rows(columns, [("sample_id", "in", list(ids)), _HAS_PICTURE]))

    def _thumbnails(self, key: PictureKey) -> Thumbnails:
        rows = self._rows_of([key[0]], RESULTS.names)
        if not rows or rows[0]["output_sha256"] != key[1]:
            return Thumbnails(None, None, None)
        images = self._plan(rows[0]["job_id"]).job_config().images
        before, mask, after = self._sources(rows[0])
        return self._shrink(before, mask, after, images, PICTURE_BYTES)


PRESET_NAMES: tuple[str, ...] = get_args(PresetName)[::-1]
"""Cheapest first."""


def _holding(decided: dict[PictureKey, Decision], row: Row) -> Decision | None:
    decision = decided.get((row["sample_id"], row["output_sha256"]))
    return decision if decision is not None and decision.holds_for(row) else None


def _asked(decision: Decision | None) -> dict[str, str | None] | None:
    return {"preset": decision.preset, "seed": str(decision.seed)} if decision and decision.verdict == "redo" else None
