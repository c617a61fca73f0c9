"""What people decided about restored pictures: a Delta table of its own beside the results.

A decision names the sample and the sha256 of the picture that was looked at, so it says nothing about a picture that has
taken that one's place since; a redo names the attempt too, and is settled once the row comes from another one. A redo also
names the sha256 of the source that was looked at, and may bring that of a mask that somebody has corrected. Rows are only ever
added, the newest about a picture counts. So deciding never rewrites results, which hold pictures, never gets in the way of a
run, and loses nothing to one.

Every batch of decisions carries the transaction id ``review/SESSION`` and a number that rises within the session: sent
again, because an answer was lost, it is in the table once.
"""

import contextlib
import getpass
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from repaint_batch.config import JobConfig, PresetName
from repaint_batch.errors import CommitFailed, CommitUnknown
from repaint_batch.jobs.plan import Plan, load_plan
from repaint_batch.manifest import result_id
from repaint_batch.outputs.corrected import CHANGED, corrected_mask_uri
from repaint_batch.outputs.dead_letters import manifest_rows, retry_config
from repaint_batch.outputs.sources import Sources
from repaint_batch.schema import REVIEWS
from repaint_batch.storage import Storage
from repaint_batch.table.log import Log
from repaint_batch.table.reading import Snapshot
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import delta_uri, join, normalise

Verdict = Literal["accept", "reject", "redo", "undecided"]
PictureKey = tuple[str, str]
"""(sample_id, sha256 of its picture)."""

_COMMIT_TRIES = 20
_MANY_FILES = 64
_READERS = 8
SESSION_PATTERN = r"^[0-9a-f-]{8,64}$"
"""What may name a session of decisions."""


@dataclass(frozen=True)
class Decision:
    """One decision about one picture.

    Attributes:
        sample_id: its row.
        output_sha256: hash of the picture that was looked at.
        attempt: the attempt that made it.
        verdict: ``accept``; ``reject``: not to be used; ``redo``: to be restored again; ``undecided`` takes back.
        preset: of a redo.
        seed: of a redo.
        image_sha256: of a redo: hash of the source that was looked at; None where it could not be read.
        mask_sha256: of a redo with a corrected mask: its hash; it lies where `corrected_mask_uri` says.
    """

    sample_id: str
    output_sha256: str
    attempt: str
    verdict: Verdict
    preset: PresetName | None = None
    seed: int | None = None
    image_sha256: str | None = None
    mask_sha256: str | None = None

    @property
    def picture(self) -> PictureKey:
        """What it is about."""
        return self.sample_id, self.output_sha256

    def holds_for(self, row: dict[str, Any]) -> bool:
        """Return whether it is about the picture that a results row has now, and a redo not yet done."""
        same = (row["sample_id"], row["output_sha256"]) == self.picture
        return same and (self.verdict != "redo" or row["attempt"] == self.attempt)


class Reviews:
    """The decisions about an output.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
    """

    def __init__(self, output: str, storage: Storage) -> None:
        self.uri = join(normalise(output), "reviews")
        self._delta_uri = delta_uri(self.uri)
        self._storage, self._options = storage, storage.delta_options()

    def exists(self) -> bool:
        """Return whether anything was ever decided."""
        return Log(self.uri, self._storage).exists()

    def record(self, session: str, number: int, decisions: Sequence[Decision]) -> bool:
        """Add decisions in one transaction; return False if this batch of the session is there already.

        Args:
            session: hexadecimal name of whoever decides, unique to one page that was opened.
            number: of the batch, rising within the session.
            decisions: in the order in which they were taken.

        Raises:
            CommitFailed: the table certainly does not hold them.
            CommitUnknown: nobody knows; the same call again finds out.
        """
        if not re.match(SESSION_PATTERN, session):
            raise ValueError(f"{session!r:.80} is no name of a session")
        transaction = f"review/{session}"
        properties = CommitProperties(app_transactions=[Transaction(transaction, number)], max_commit_retries=15)
        last: Exception | None = None
        for _ in range(_COMMIT_TRIES):
            try:
                table = self._open()
                known = table.transaction_version(transaction)
                if known is not None and known >= number:
                    return False
                rows = _rows(decisions, _clock(table))
                # Tables of earlier editions know of no corrected masks.
                write_deltalake(table, rows, mode="append", schema_mode="merge", commit_properties=properties)
                return True
            except CommitFailedError as error:
                last = error  # this very batch, sent twice at once: the next look at the table tells
            except (DeltaError, OSError) as error:
                raise CommitUnknown(f"{self.uri}: cannot tell whether decisions were recorded: {error}") from error
        raise CommitFailed(f"{self.uri} refused {_COMMIT_TRIES} commits; the last said: {last}") from last

    def latest(self) -> dict[PictureKey, Decision]:
        """Return the newest decision about every picture, but those taken back, in the order in which they were taken."""
        if not self.exists():
            return {}
        rows = Snapshot(self._open(), self.uri, self._storage)
        names = [name for name in REVIEWS.names if name != "reviewer" and name in rows.names]
        table = rows.read(names, order=[("decided_at", "ascending")])
        decisions = (Decision(**row) for row in table.drop_columns("decided_at").to_pylist())
        found: dict[PictureKey, Decision] = {}
        for decision in decisions:
            found.pop(decision.picture, None)  # so that the newest is the last
            found[decision.picture] = decision
        return {picture: decision for picture, decision in found.items() if decision.verdict != "undecided"}

    def tidy(self) -> None:
        """Join the small files that many decisions have left."""
        with contextlib.suppress(DeltaError, OSError):  # nothing depends on it
            if self.exists() and len(self._open().file_uris()) > _MANY_FILES:
                self._open().optimize.compact()

    def _open(self) -> DeltaTable:
        if not self.exists():
            configuration = {"delta.dataSkippingStatsColumns": "decided_at", "delta.checkpointInterval": "100"}
            DeltaTable.create(
                self._delta_uri, schema=REVIEWS, mode="ignore", storage_options=self._options, configuration=configuration
            )
        return DeltaTable(self._delta_uri, storage_options=self._options)


def count_verdicts(output: str, storage: Storage) -> Counter[str]:
    """Return how many pictures of an output are accepted, rejected or to be redone, as they are now."""
    decided = Reviews(output, storage).latest()
    if not decided:
        return Counter()
    return Counter(decision.verdict for _, decision in _current(output, storage, decided))


@dataclass(frozen=True)
class Redos:
    """What a review wants redone.

    Attributes:
        jobs: how to run it, and the jobs whose rows these are.
        refused: sample_id, and why that one is not redone; its row stays as it is.
    """

    jobs: list[tuple[JobConfig, Plan]]
    refused: list[tuple[str, str]]


def redos(output: str, storage: Storage) -> Redos:
    """Write the pictures that are to be redone as manifests; return, by job and preset, how to run them.

    Asking twice before anything has run gives the same jobs. Once such a job has run, its pictures have taken the place of
    those that were decided about, and nobody has decided about them. A picture whose source is another than was looked at is not
    redone: nobody has seen it, and a mask that was drawn does not fit it.
    """
    decided = {key: decision for key, decision in Reviews(output, storage).latest().items() if decision.verdict == "redo"}
    current = _current(output, storage, decided) if decided else []
    plans = {job_id: load_plan(output, job_id, storage) for job_id in {row["job_id"] for row, _ in current}}
    wanted: dict[tuple[str, PresetName], list[tuple[dict[str, Any], Decision]]] = defaultdict(list)
    refused = []
    for row, decision, why in _held_against_sources(output, storage, current, list(plans.values())):
        assert decision.preset is not None
        if why is None:
            wanted[row["job_id"], decision.preset].append((row, decision))
        else:
            refused.append((decision.sample_id, why))
    configs = []
    for (job_id, preset), asked in sorted(wanted.items()):
        plan = plans[job_id]
        rows = manifest_rows(plan, [row for row, _ in asked], storage)
        rows = _asked_for(output, rows, {decision.sample_id: decision for _, decision in asked})
        marks = [f"{row['sample_id']}\0{row['attempt']}\0{made.seed}\0{made.mask_sha256 or ''}" for row, made in asked]
        name = hashlib.sha256("\n".join([preset, *marks]).encode()).hexdigest()[:16]
        config = retry_config(output, plan, rows, f"redo-{name}", storage)
        configs.append((config.model_copy(update={"sampler": config.sampler.model_copy(update={"preset": preset})}), plan))
    return Redos(configs, sorted(refused))


def _held_against_sources(
    output: str, storage: Storage, redos: list[tuple[dict[str, Any], Decision]], plans: list[Plan]
) -> Iterator[tuple[dict[str, Any], Decision, str | None]]:
    """Yield rows and decisions, and why such a one cannot be followed; None if it can."""
    sources = Sources(output, storage, plans)

    def why_not(redo: tuple[dict[str, Any], Decision]) -> str | None:
        row, decision = redo
        if decision.image_sha256 is None:  # the source could not be read even then, or an earlier edition noted no hash
            return None
        data = sources.given(row, "image")
        if data is None:
            return f"the picture cannot be read: {row['image_uri'] or 'it was in the manifest'}"
        return None if hashlib.sha256(data).hexdigest() == decision.image_sha256 else CHANGED

    with ThreadPoolExecutor(_READERS) as pool:
        yield from ((row, decision, why) for (row, decision), why in zip(redos, pool.map(why_not, redos), strict=True))


def _asked_for(output: str, rows: pa.Table, decisions: Mapping[str, Decision]) -> pa.Table:
    """Return manifest rows with the seeds, and the corrected masks, that were asked for; `decisions` by sample_id."""
    asked = [decisions[result_id(value)] for value in rows["sample_id"].to_pylist()]
    rows = rows.drop_columns(["seed"]) if "seed" in rows.column_names else rows
    rows = rows.append_column("seed", pa.array([decision.seed for decision in asked], pa.int64()))
    place = rows.column_names.index("mask")
    field, masks = rows.schema.field(place), rows["mask"].to_pylist()
    for at, decision in enumerate(asked):
        if decision.image_sha256 and decision.mask_sha256:
            uri = corrected_mask_uri(output, decision.image_sha256, decision.mask_sha256)
            masks[at] = {"bytes": None, "path": uri} if pa.types.is_struct(field.type) else uri
    return rows.set_column(place, field, pa.array(masks, field.type))


def _current(
    output: str, storage: Storage, decided: dict[PictureKey, Decision]
) -> list[tuple[dict[str, Any], Decision]]:
    """Return the rows whose picture is among those decided about, with the decision."""
    columns = ("sample_id", "output_sha256", "attempt", "job_id", "shard", "image_uri")
    rows = ResultsTable(output, storage).rows(columns, [("status", "!=", "failed")])
    pairs = ((row, decided.get((row["sample_id"], row["output_sha256"]))) for row in rows)
    return [(row, decision) for row, decision in pairs if decision is not None and decision.holds_for(row)]


def _clock(table: DeltaTable) -> datetime:
    """Return a time after every decision in the table, so that a clock that is behind does not lose to earlier ones."""
    actions = pa.table(table.get_add_actions(flatten=True))
    name = "max.decided_at"
    known: list[datetime] = actions[name].drop_null().to_pylist() if name in actions.column_names else []
    # Statistics hold milliseconds.
    return max([datetime.now(UTC), *(at.replace(tzinfo=UTC) + timedelta(milliseconds=1) for at in known)])


def _rows(decisions: Sequence[Decision], start: datetime) -> pa.Table:
    try:
        reviewer = getpass.getuser()
    except (KeyError, OSError):  # containers have users without a name
        reviewer = None
    rows = [
        {**vars(decision), "reviewer": reviewer, "decided_at": start + timedelta(microseconds=number)}
        for number, decision in enumerate(decisions)
    ]
    return pa.Table.from_pylist(rows, schema=REVIEWS)
