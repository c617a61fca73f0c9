"""A corpus held against its results: what is new, changed, stale, failed or gone.

The results table itself is the memory. Its rows carry, as columns that came with their manifests, the identities of picture
and mask (size and ETag, or time of change, from the listing) and a digest of what was asked for. Both sides go through a
table on local disk, so that memory stays the same at any number of pictures, and nothing is read that did not change.

Where only an identity changed, the bytes are read and hashed: a picture that was merely copied again is not restored again. A
picture that runs anew, and whose mask somebody has corrected, is read too: see `corrections`.
"""

import hashlib
import sqlite3
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from repaint_batch.config import JobConfig, fingerprint
from repaint_batch.errors import ConfigError, ManifestError, RepaintBatchError
from repaint_batch.manifest.pairing import Aside, FolderPairs, Unpaired, identified_pictures
from repaint_batch.nights.config import CorpusConfig
from repaint_batch.nights.corrections import Corrections
from repaint_batch.outputs.corrected import config_for, corrected
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import normalise

OWN_COLUMNS = pa.schema(
    [
        pa.field("image_identity", pa.string()),
        pa.field("mask_identity", pa.string()),
        pa.field("asked", pa.string()),  # PRIOR/SAMPLER/SETTINGS, see `asked_for`
        pa.field("earlier_failures", pa.int32()),  # nights in which this very work had failed before
        pa.field("night", pa.string()),
    ]
)
"""Columns that manifests of nights bring along, and that the results therefore carry."""
MANIFEST = pa.schema([("sample_id", pa.string()), ("image", pa.string()), ("mask", pa.string()), *OWN_COLUMNS])

_KNOWN = ("sample_id", "status", "image_identity", "mask_identity", "asked", "earlier_failures",
          "seed", "prior_fingerprint", "sampler_fingerprint", "work_key", "mask_uri", "output_sha256", "attempt")  # fmt: skip
_READERS = 16
_BATCH = 4096
Row = dict[str, Any]


def asked_for(prior_fingerprint: str, sampler_fingerprint: str, config: JobConfig) -> str:
    """Return what decides every row's result, its picture and mask apart: digests of the prior, the sampler, the rest."""
    settings = fingerprint(
        config.images.model_dump(mode="json", exclude_defaults=True), config.output.images, config.output.format,
        config.sampler.seed,
    )  # fmt: skip
    return f"{prior_fingerprint}/{sampler_fingerprint}/{settings}"


def why_run(listed: Row, known: Row | None, asked: str, tries: int) -> tuple[bool, str]:
    """Return whether a pair of the corpus is to be run, and why, or why not.

    Args:
        listed: the pair, with its identities.
        known: its row in the results; None if there is none.
        asked: see `asked_for`.
        tries: failures after which it is left alone.
    """
    if known is None:
        return True, "new"
    if any(listed[name] != known[name] for name in ("image_identity", "mask_identity")):
        return True, "changed"
    if known["asked"] != asked:
        parts = zip(("new prior", "new sampler", "new settings"), asked.split("/"), known["asked"].split("/"), strict=True)
        return True, next(name for name, now, then in parts if now != then)
    if known["status"] == "failed":
        failures = known["earlier_failures"] + 1
        return (True, "failed before") if failures < tries else (False, "quarantined")
    return False, "unchanged"


@dataclass(frozen=True)
class Found:
    """What a comparison found.

    Attributes:
        listed: pairs of the corpus.
        to_run: rows that are to be run, by reason.
        skipped: rows that are not, by reason.
        unpaired: pictures without a mask, and masks without a picture.
        held: rows of the output before the night.
        deleted: of those, rows whose picture or mask is gone.
        corrected: rows to run by a mask that somebody has corrected.
        uncorrected: why, and which, rows are run without the mask that somebody has corrected.
    """

    listed: int
    to_run: Counter[str]
    skipped: Counter[str]
    unpaired: Unpaired
    held: int
    deleted: int
    corrected: int = 0
    uncorrected: list[tuple[str, str]] = field(default_factory=list)


class Comparison:
    """A corpus as it is now, held against an output.

    Args:
        corpus: where it is.
        table: the results; it need not exist.
        job: what is asked for now; its manifest is not read.
        asked: see `asked_for`.
        tries: failures after which a row is left alone.
        scratch: empty local folder.

    Raises:
        ManifestError: there are no pictures there, or they cannot be paired.
        ConfigError: the output was not made by nights.
    """

    def __init__(
        self, corpus: CorpusConfig, table: ResultsTable, job: JobConfig, asked: str, tries: int, scratch: Path
    ) -> None:
        self._job, self._asked, self._tries, self._storage = job, asked, tries, Storage(job.storage)
        self._db = sqlite3.connect(scratch / "night.sqlite")
        self._db.row_factory = sqlite3.Row
        own = ("image_identity", "mask_identity")
        self._db.executescript(
            "pragma journal_mode = off; pragma synchronous = off; pragma temp_store = file; pragma cache_size = -32768;"
            f"create table listed (sample_id text primary key, image text, mask text, {', '.join(own)}) without rowid;"
            f"create table known ({', '.join(_KNOWN)}, primary key (sample_id)) without rowid;"
            "create table to_run (sample_id text primary key, earlier_failures int, corrected text) without rowid;"
            f"create table touched (sample_id text primary key, {', '.join(own)}) without rowid;"
            "create table left_out (why text, name text);"
        )
        if corpus.masks is None:
            self._unpaired = Unpaired()
            self._list_alone(corpus.images)
        else:
            self._list_pairs(corpus.images, corpus.masks, corpus.pattern, scratch)
        self._take_known(table)
        self._output = normalise(job.output.uri)
        self._corrections = Corrections(self._output, self._storage)
        self.found = self._compare()

    def close(self) -> None:
        """Let go of the local table."""
        self._db.close()

    def manifest(self, night: str) -> Iterator[pa.Table]:
        """Yield the rows to run as parts of a manifest, in the order of their ids."""
        rows = self._db.execute("select * from listed join to_run using (sample_id) order by sample_id")
        own = {"asked": self._asked, "night": night}
        for batch in iter(lambda: rows.fetchmany(_BATCH), []):
            named = [{**dict(row), **own, "mask": row["corrected"] or row["mask"]} for row in batch]
            yield pa.Table.from_pylist(named, MANIFEST)

    def deleted(self) -> pa.Table:
        """Return the ids of rows whose picture or mask is gone."""
        rows = self._db.execute("select sample_id from known where sample_id not in (select sample_id from listed)")
        return pa.table({"sample_id": pa.array([row[0] for row in rows], pa.string())})

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Yield (why, name) of every picture and mask of the corpus that is in no row which runs or has run well."""
        yield from (tuple(row) for row in self._db.execute("select why, name from left_out order by why, name"))

    def touched(self) -> pa.Table:
        """Return ids and new identities of rows whose bytes are what they were."""
        rows = [dict(row) for row in self._db.execute("select * from touched")]
        schema = pa.schema([("sample_id", pa.string()), ("image_identity", pa.string()), ("mask_identity", pa.string())])
        return pa.Table.from_pylist(rows, schema)

    def _list_pairs(self, images: str, masks: str, pattern: str, scratch: Path) -> None:
        pairs = FolderPairs(images, masks, pattern, self._storage, scratch)
        try:
            self._unpaired = pairs.unpaired()
            self._db.executemany("insert into left_out values (?, ?)", pairs.lone())
            self._leave_out_refused(pairs.aside)
            self._list(pairs.identified())
        finally:
            pairs.close()
        _warn_of(pairs.aside)

    def _list_alone(self, images: str) -> None:
        aside = Aside()
        pictures = identified_pictures(images, self._storage, aside)
        self._list((path, uri, None, identity, None) for path, uri, identity in pictures)
        self._leave_out_refused(aside)
        _warn_of(aside)
        if not self._db.execute("select 1 from listed limit 1").fetchone():
            raise ManifestError(f"{images}: no pictures there; check corpus.images")

    def _leave_out_refused(self, aside: Aside) -> None:
        self._db.executemany("insert into left_out values ('refused name', ?)", ((name,) for name in aside.refused))

    def _list(self, rows: Iterable[tuple[str | None, ...]]) -> None:
        self._db.executemany("insert into listed values (?, ?, ?, ?, ?)", rows)

    def _take_known(self, table: ResultsTable) -> None:
        if not table.exists():
            return
        missing = [name for name in OWN_COLUMNS.names if name not in pa.schema(table.open().schema().to_arrow()).names]
        if missing:
            raise ConfigError(f"output.uri: {table.uri} was not made by nights (no column {missing[0]}); choose another output")
        for batch in table.snapshot().batches(_KNOWN):
            places = ", ".join("?" * len(_KNOWN))
            self._db.executemany(f"insert into known values ({places})", zip(*batch.to_pydict().values(), strict=True))

    def _compare(self) -> Found:
        to_run, skipped = Counter[str](), Counter[str]()
        corrected_rows, uncorrected = 0, list[tuple[str, str]]()
        columns = ", ".join(f"k.{name} as k_{name}" for name in _KNOWN)
        pairs = self._db.execute(
            f"select l.*, {columns} from listed l left join known k on k.sample_id = l.sample_id order by l.sample_id"
        )
        listed = 0
        with ThreadPoolExecutor(_READERS) as pool:
            for batch in iter(lambda: pairs.fetchmany(_BATCH), []):
                listed += len(batch)
                verdicts = [(*halves, *why_run(*halves, self._asked, self._tries)) for halves in map(_halves, batch)]
                suspects = [(row, known) for row, known, _, why in verdicts if why == "changed" and known]
                same = {row["sample_id"] for row, is_same in pool.map(self._same_bytes, suspects) if is_same}
                for row, known, runs, why in verdicts:
                    if row["sample_id"] in same:
                        skipped["touched"] += 1
                        new = (row["sample_id"], row["image_identity"], row["mask_identity"])
                        self._db.execute("insert into touched values (?, ?, ?)", new)
                    elif runs:
                        to_run[why] += 1
                        failures = known["earlier_failures"] + 1 if known and why == "failed before" else 0
                        mask, why_not = self._corrected(row, known)
                        corrected_rows += mask is not None
                        uncorrected += [(why_not, row["sample_id"])] if why_not else []
                        self._db.execute("insert into to_run values (?, ?, ?)", (row["sample_id"], failures, mask))
                    else:
                        skipped[why] += 1
                        if why == "quarantined":
                            self._db.execute("insert into left_out values (?, ?)", ("failed too often", row["sample_id"]))
        (held,) = self._db.execute("select count(*) from known").fetchone()
        (deleted,) = self._db.execute(
            "select count(*) from known where sample_id not in (select sample_id from listed)"
        ).fetchone()
        return Found(listed, to_run, skipped, self._unpaired, held, deleted, corrected_rows, uncorrected)

    def _corrected(self, row: Row, known: Row | None) -> tuple[str | None, str | None]:
        """Return the corrected mask that a row is run with, or why none that was drawn is used; see `Corrections`."""
        if row["sample_id"] not in self._corrections:
            return None, None
        try:
            return self._corrections.mask_for(row, known, self._storage.read(row["image"], self._job.images.max_bytes))
        except RepaintBatchError:
            return None, None  # the job finds out, and says so in the row

    def _digest(self, uri: str | None) -> str | None:
        return uri and hashlib.sha256(self._storage.read(uri, self._job.images.max_bytes)).hexdigest()

    def _same_bytes(self, suspect: tuple[Row, Row]) -> tuple[Row, bool]:
        """Return a pair, and whether its sources have the bytes that its result was made from."""
        from repaint_batch.pipeline.stages import work_key
        from repaint_batch.sampler.noise import first_seeds

        row, known = suspect
        own = corrected(self._output, known["mask_uri"])
        if known["status"] == "failed" or known["asked"] != self._asked:
            return row, False
        if own is not None and row["mask_identity"] != known["mask_identity"]:
            return row, False
        try:
            image, mask = self._digest(row["image"]), own.mask_sha256 if own else self._digest(row["mask"])
            if image is None:
                return row, False
        except RepaintBatchError:
            return row, False  # the job finds out, and says so in the row
        # The row has the seed of the candidate that was kept, its key that of the first.
        seeds = first_seeds(known["seed"], self._job.sampler.candidates)
        job = config_for(self._job, self._output, known["mask_uri"])
        keys = (work_key({**known, "seed": seed}, image, mask, job) for seed in seeds)
        return row, known["work_key"] in keys


def _warn_of(aside: Aside) -> None:
    if aside.refused_count:
        warnings.warn(f"left aside: {aside.refusal()}; rename them", stacklevel=4)


def _halves(pair: sqlite3.Row) -> tuple[Row, Row | None]:
    """Return the pair as listed, and as known if it is."""
    listed = {name: pair[name] for name in pair.keys() if not name.startswith("k_")}  # noqa: SIM118
    return listed, {name: pair[f"k_{name}"] for name in _KNOWN} if pair["k_sample_id"] is not None else None
