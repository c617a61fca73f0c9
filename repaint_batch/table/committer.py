"""The one writer of a job: publishes what workers have staged, in one transaction for all that came in meanwhile.

While a transaction is being written, entries gather; the next one takes them all. So a slow store makes transactions larger
and not fewer rows a second. An appending transaction is one request: the next entry of the log, put there unless somebody
else was first. In that case theirs is read, and what is left to do is decided anew. A lost answer is settled likewise: the entry
says whose it is.

Which rows are committed is part of the commit itself, see `ledger`. An entry is published wholly, or trimmed to the rows that are
missing if some are there already: to refuse it would throw away what was paid for, and to publish it as it is would publish
rows twice. Trimming reads the object and stages it again, which is slow, and only happens where two drivers met.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from repaint_batch.errors import (
    CommitFailed,
    CommitUnknown,
    ConfigError,
    Fenced,
    NoSpace,
    RepaintBatchError,
    StorageError,
    StoreUnavailable,
    redact,
)
from repaint_batch.jobs.plan import Plan
from repaint_batch.table.checkpoints import Checkpoints
from repaint_batch.table.known_ids import KnownIds
from repaint_batch.table.ledger import Ledger, actions_of
from repaint_batch.table.log import Action, Log, info_of
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import Entry, read_staged, stage
from repaint_batch.uris import join

_TRIES = 30  # of which each has lost a race against somebody else's transaction
_SILENCES = 2  # of a store, on top of its client's own patience
_PAUSE_S = 0.5
_GROUP_ENTRIES = 2000
_MERGE_BYTES = 256 << 20  # of staged objects, which a merge holds in memory
_WRITER_VERSION = 2  # of Delta's protocol: appends of plain columns
_FEATURES = {"appendOnly", "invariants", "timestampNtz"}  # of later versions, which ask nothing more of such an append
_TOKEN = "token"
_Waiting = tuple[Entry, "Future[bool]"]


@dataclass(frozen=True)
class Counts:
    """What a committer has published.

    Attributes:
        rows: rows.
        failed: failed ones among them.
        nfe: network evaluations spent on them.
        parcels: entries.
        transactions: versions of the table.
    """

    rows: int = 0
    failed: int = 0
    nfe: int = 0
    parcels: int = 0
    transactions: int = 0

    def after(self, entries: Sequence[Entry]) -> "Counts":
        """Return the counts once these entries are published too, in one transaction."""
        return Counts(
            self.rows + sum(len(entry.rows) for entry in entries),
            self.failed + sum(entry.failed for entry in entries),
            self.nfe + sum(entry.nfe for entry in entries),
            self.parcels + len(entries),
            self.transactions + 1,
        )


class Committer:
    """Publishes the parcels of one job; any number of threads may call it.

    Args:
        table: the results table; it exists.
        plan: the job.
        epoch: generation of the lease under which it is run; None: without a lease, as in tests, and without a fence.

    Raises:
        Fenced: a later driver has committed already.
        ConfigError: the table asks of its writers what this version does not do.
        StorageError: the store does not answer.
    """

    def __init__(self, table: ResultsTable, plan: Plan, epoch: int | None) -> None:
        self._table, self._plan, self._epoch = table, plan, epoch
        self._log = Log(table.uri, table.storage)
        self._ledger = Ledger.read(self._log)
        self._check_epoch()
        with table.kept() as delta:
            _check_writable(delta)
        self._checkpoints = Checkpoints(self._log, table.storage, self._ledger.checkpoint)
        # Retries and redos replace by what they are; only a night's rows may be new, and need no merge then.
        self._known = KnownIds(table) if plan.listed is not None and plan.mode == "upsert" else None
        self._counts = Counts()
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="committer")
        self._thread.start()

    def commit(self, entry: Entry) -> bool:
        """Publish an entry, and return once it is durable: True if this call published it, False if its rows were there.

        Rows of it that are there already are left out. After an error the same entry may be committed again, at any time.

        Raises:
            Fenced: another driver has the job; nothing was published, and nothing will be.
            StoreUnavailable: the store was waited for in vain; nobody knows.
            CommitUnknown: it answered something else; likewise.
            CommitFailed: the rows are certainly not there.
            StorageError: the entry's object had to be read, and could not be.
        """
        return self.submit(entry).result()

    def submit(self, entry: Entry) -> "Future[bool]":
        """Return what `commit` would, or raise, once it is known."""
        if entry.job_id != self._plan.job_id:
            raise AssertionError(f"an entry of job {entry.job_id} came to the committer of job {self._plan.job_id}")
        waiting: Future[bool] = Future()
        waiting.set_running_or_notify_cancel()  # what is submitted is published, whether or not anybody waits
        with self._changed:
            if self._closing:
                raise RuntimeError("the committer is closed")
            self._waiting.append((entry, waiting))
            self._changed.notify()
        return waiting

    @property
    def done(self) -> Ranges:
        """Rows of the job that are committed, as far as this committer knows."""
        return self._ledger.done(self._plan.job_id)

    @property
    def counts(self) -> Counts:
        """What this committer has published."""
        return self._counts

    def close(self) -> None:
        """Publish what was submitted, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._checkpoints.close()

    def __enter__(self) -> "Committer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        while group := self._gathered():
            try:
                outcomes = self._publish([entry for entry, _ in group])
            except Exception as error:  # whatever it is, those who wait are told
                outcomes = [error] * len(group)
            for (_, waiting), outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    waiting.set_exception(_copy(outcome))
                else:
                    waiting.set_result(outcome)

    def _gathered(self) -> list[_Waiting]:
        """Return what has come in, as soon as there is something; nothing once the committer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            size = taken = 0
            for entry, _ in self._waiting[:_GROUP_ENTRIES]:
                size += entry.size_bytes
                if taken and self._plan.mode == "upsert" and size > _MERGE_BYTES:
                    break
                taken += 1
            group, self._waiting = self._waiting[:taken], self._waiting[taken:]
            return group

    def _publish(self, entries: Sequence[Entry]) -> list[bool | Exception]:
        """Publish entries; return of each whether rows of it were published now, or what its object made impossible."""
        outcomes: list[bool | Exception] = [False] * len(entries)
        for _ in range(_TRIES):
            self._check_epoch()
            parts = self._parts(entries, outcomes)
            if not parts:
                return outcomes
            replacing = self._replacing([part for _, part in parts])
            for write, some in (
                (self._append, [pair for pair in parts if pair[1].path not in replacing]),
                (self._merge, [pair for pair in parts if pair[1].path in replacing]),
            ):
                if some and not write([part for _, part in some]):
                    break
                for number, _ in some:
                    outcomes[number] = True
            else:
                return outcomes
        raise CommitFailed(f"{self._table.uri}: {_TRIES} transactions in a row came too late; who else writes to the table?")

    def _parts(self, entries: Sequence[Entry], outcomes: list[bool | Exception]) -> list[tuple[int, Entry]]:
        """Return the entries with what is missing of them; an entry whose rows another one brings comes to nothing."""
        parts: list[tuple[int, Entry]] = []
        taken: set[int] = set()
        for number, entry in enumerate(entries):
            missing = [row for row in self._ledger.missing(self._plan.job_id, entry.rows) if row not in taken]
            if not missing or isinstance(outcomes[number], Exception):
                continue
            try:
                parts += [(number, part) for part in self._trimmed(entry, missing)]
                taken.update(missing)
            except StorageError as error:
                outcomes[number] = error
        return parts

    def _trimmed(self, entry: Entry, missing: Sequence[int]) -> list[Entry]:
        if len(missing) == len(entry.rows):
            return [entry]
        rows = read_staged(self._table.uri, entry.path, self._table.storage)
        spans = (rows.slice(start - entry.start, stop - start) for start, stop in Ranges.of_rows(missing).spans)
        return [stage(self._table, self._plan, span, entry.attempt) for span in spans]

    def _replacing(self, entries: Sequence[Entry]) -> set[str]:
        """Return the paths of entries of which rows may take the place of others."""
        if self._plan.mode == "append":
            return set()
        return {entry.path for entry in entries} if self._known is None else self._known.replacing(entries)

    def _append(self, entries: Sequence[Entry]) -> bool:
        """Publish entries that replace nothing; return False if somebody else's transaction came first.

        Exactly once: the entry of the log is created only if nobody else has, and says which rows are done (see `ledger`).
        """
        token = uuid.uuid4().hex
        info = {
            "timestamp": time.time_ns() // 10**6,
            "operation": "WRITE",
            "operationParameters": {"mode": "Append"},
            "engineInfo": "repaint-batch",
            "isBlindAppend": True,
            **self._facts(entries, token),
        }
        # The protocol asks no more of a blind append.
        actions = [{"commitInfo": info}, *actions_of(self._numbers(entries)), *(entry.add_action() for entry in entries)]
        for silences in range(_SILENCES):
            trouble = None
            try:
                if self._log.write(self._ledger.version + 1, actions):
                    self._take(self._ledger.version + 1, actions)
                    break
            except (StoreUnavailable, NoSpace):
                raise  # it was waited for long enough, or is not worth it
            except StorageError as error:
                trouble = error
            before = self._ledger.version
            if self._caught_up(token):
                break
            if trouble is None or self._ledger.version > before:
                return False
            if silences + 1 == _SILENCES:
                raise CommitUnknown(f"{self._table.uri}: nobody knows whether rows were published: {redact(str(trouble))}")
            time.sleep(_PAUSE_S)
        self._published(entries)
        return True

    def _merge(self, entries: Sequence[Entry]) -> bool:
        """Publish entries whose rows take the place of others of the same id; return False if it is to be tried again."""
        storage, token = self._table.storage, uuid.uuid4().hex
        rows = pa.concat_tables(read_staged(self._table.uri, entry.path, storage) for entry in entries)
        properties = CommitProperties(
            app_transactions=[Transaction(name, number) for name, number in self._numbers(entries).items()],
            custom_metadata=self._facts(entries, token),
            max_commit_retries=15,
        )
        trouble: Exception | None = None
        with self._table.kept() as delta:
            if delta.version() == self._ledger.version:
                try:
                    merge = delta.merge(
                        rows, "t.sample_id = s.sample_id", source_alias="s", target_alias="t", commit_properties=properties
                    )
                    merge.when_matched_update_all().when_not_matched_insert_all().execute()
                except (DeltaError, OSError) as error:
                    trouble = error
        if not self._caught_up(token):
            if trouble is not None and not isinstance(trouble, CommitFailedError):
                time.sleep(_PAUSE_S)
            return False
        self._published(entries)
        for entry in entries:
            with contextlib.suppress(StorageError):  # nothing refers to it; `orphans` finds it too
                storage.delete(join(self._table.uri, entry.path))
        return True

    def _caught_up(self, token: str) -> bool:
        """Take in what has been committed since; return whether a commit with this token is among it.

        Raises:
            StoreUnavailable: the store was waited for in vain.
            CommitUnknown: it answers something else.
        """
        ours = False
        try:
            for version, actions in self._log.follow(self._ledger.version):
                self._take(version, actions)
                ours |= info_of(actions).get(_TOKEN) == token
                if any("protocol" in action or "metaData" in action for action in actions):
                    _check_writable(self._table.open())
        except StoreUnavailable:
            raise
        except (StorageError, DeltaError, OSError) as error:
            raise CommitUnknown(f"{self._table.uri}: the table cannot be asked what it holds: {redact(str(error))}") from error
        return ours

    def _take(self, version: int, actions: list[Action]) -> None:
        self._ledger.take(version, actions)
        self._checkpoints.note(version, actions)

    def _numbers(self, entries: Sequence[Entry]) -> dict[str, int]:
        rows = chain.from_iterable(entry.rows for entry in entries)
        epoch = self._ledger.epoch(self._plan.job_id) if self._epoch is None else self._epoch
        return self._ledger.adding(self._plan.job_id, rows, epoch)

    def _facts(self, entries: Sequence[Entry], token: str) -> dict[str, Any]:
        """Return what the log is to say of a commit, for people and for `CommitFeed`."""
        facts = {name: sum(getattr(entry, name) for entry in entries) for name in ("failed", "skipped", "nfe")}
        rows = sum(len(entry.rows) for entry in entries)
        return {"job_id": self._plan.job_id, "rows": rows, **facts, "parcels": len(entries), _TOKEN: token}

    def _published(self, entries: Sequence[Entry]) -> None:
        self._counts = self._counts.after(entries)

    def _check_epoch(self) -> None:
        latest = self._ledger.epoch(self._plan.job_id)
        if self._epoch is not None and latest > self._epoch:
            raise Fenced(
                f"job {self._plan.job_id}: another driver has taken it over (lease {latest}, this one had {self._epoch}) and has "
                f"committed rows to {self._table.uri}; let it finish, nothing more is published from here"
            )


def _check_writable(delta: DeltaTable) -> None:
    """Raise unless the protocol lets a writer append that knows no more than this one.

    Raises:
        ConfigError: the table has features of later versions.
    """
    protocol = delta.protocol()
    beyond = set(protocol.writer_features or ()) - _FEATURES
    if protocol.min_writer_version > _WRITER_VERSION and (beyond or protocol.writer_features is None):
        named = ", ".join(sorted(beyond)) or f"writer version {protocol.min_writer_version}"
        raise ConfigError(f"{delta.table_uri} asks its writers for {named}, which this version does not know; use another output")


def _copy(error: Exception) -> Exception:
    """Return an error of the same kind: several threads cannot raise one object."""
    return type(error)(str(error)) if isinstance(error, RepaintBatchError) else error
