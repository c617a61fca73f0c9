"""The results table: a Delta Lake table with one row a sample, and with a ledger of what is in it.

`committer` writes to it and keeps the ledger in its transactions, see `ledger`; here is what anyone may ask of it.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError
from deltalake.table import TableMerger

from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import Plan
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage
from repaint_batch.table.ledger import Ledger
from repaint_batch.table.log import Log, info_of
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.reading import Filters, Snapshot, patiently
from repaint_batch.table.staging import STATISTICS, stored_schema
from repaint_batch.uris import delta_uri, join, normalise

CHECKPOINT_VERSIONS = 100
"""Versions from one checkpoint to the next, at least."""
_STATUSES = ("ok", "skipped", "failed")
_T = TypeVar("_T")


class ResultsTable:
    """The table of an output.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.

    Attributes:
        uri: folder or prefix of the table.
    """

    def __init__(self, output: str, storage: Storage) -> None:
        self.uri = join(normalise(output), "results")
        self._delta_uri = delta_uri(self.uri)
        self.storage, self._options = storage, storage.delta_options()
        self._kept: DeltaTable | None = None
        self._keeping = threading.Lock()

    def create(self, passthrough: Sequence[pa.Field]) -> None:
        """Make the table if it is not there, or give it the columns that it lacks; rows that are there have null in them.

        Args:
            passthrough: the manifest's own columns.

        Raises:
            ConfigError: the table has a column of that name and another type.
        """
        schema = pa.schema([*RESULTS, *passthrough])
        # Binary and free text make no useful statistics, and would bloat the log. Only `upkeep` ends what is kept.
        configuration = {
            "delta.dataSkippingStatsColumns": ",".join(STATISTICS),
            "delta.checkpointInterval": str(CHECKPOINT_VERSIONS),
            "delta.enableExpiredLogCleanup": "false",
        }
        self._asked(
            "write",
            lambda: DeltaTable.create(
                self._delta_uri, schema=schema, mode="ignore", storage_options=self._options, configuration=configuration
            ),
        )
        with self.kept() as delta:
            have = pa.schema(delta.schema().to_arrow())
            if missing := self._missing(have, stored_schema(schema)):
                delta.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields)

    def _missing(self, have: pa.Schema, wanted: pa.Schema) -> list[pa.Field]:
        """Return the columns that a table lacks, as it can take them."""
        for field in wanted:
            if field.name in have.names and have.field(field.name).type != field.type:
                raise ConfigError(
                    f"{self.uri} has {have.field(field.name).type} in column {field.name!r}, the manifest has {field.type}; "
                    "give the column another name, or choose another output.uri"
                )
        return [field.with_nullable(True) for field in wanted if field.name not in have.names]

    def exists(self) -> bool:
        """Return whether the table has been made."""
        return Log(self.uri, self.storage).exists()

    def open(self, version: int | None = None) -> DeltaTable:
        """Return the table as it is now, or was at `version`."""
        return self._asked("read", lambda: DeltaTable(self._delta_uri, version=version, storage_options=self._options))

    @contextlib.contextmanager
    def kept(self) -> Iterator[DeltaTable]:
        """Hold the table as it is now: opened once, brought up to date, and used by nobody else meanwhile."""
        with self._keeping:
            kept, self._kept = self._kept, None
            try:
                if kept is not None:
                    kept.update_incremental()
            except (DeltaError, OSError):  # what it would need next may have been cleaned away
                kept = None
            kept = kept or self.open()
            yield kept
            self._kept = kept  # whoever raised may have met damage in it

    def newest(self, question: Callable[[Snapshot], _T]) -> _T:
        """Return the answer of the rows as they are now; cheap to ask often, since only what is new in the log is read."""

        def answer() -> _T:
            with self.kept() as delta:
                return question(Snapshot(delta, self.uri, self.storage))

        return self._asked("read", answer)

    def _asked(self, action: str, question: Callable[[], _T]) -> _T:
        """Return the answer to a question asked by deltalake; a store that is away is waited for.

        Raises:
            StoreUnavailable: it was away for as long as there was patience.
        """
        return patiently(lambda: self.storage.patiently(self.uri, action, question))

    def remove(self, ids: pa.Table, facts: dict[str, str]) -> None:
        """Take rows out in one transaction.

        Args:
            ids: column sample_id.
            facts: what the log is to say of it.
        """
        self._merged(ids, facts).when_matched_delete().execute()

    def update(self, rows: pa.Table, facts: dict[str, str]) -> None:
        """Set columns of rows in one transaction; ids that the table does not hold are passed over.

        Args:
            rows: sample_id, and the columns to set.
            facts: what the log is to say of it.
        """
        columns = {name: f"s.{name}" for name in rows.column_names if name != "sample_id"}
        self._merged(rows, facts).when_matched_update(columns).execute()

    def _merged(self, rows: pa.Table, facts: dict[str, str]) -> TableMerger:
        properties = CommitProperties(custom_metadata=facts, max_commit_retries=15)
        condition = "t.sample_id = s.sample_id"
        return self.open().merge(rows, condition, source_alias="s", target_alias="t", commit_properties=properties)

    def done(self, plan: Plan) -> Ranges:
        """Return the rows of a job that the table holds, or that were superseded in it; none where there is no table."""
        return self.ledger().done(plan.job_id)

    def ledger(self, version: int | None = None) -> Ledger:
        """Return the ledger of the table as it is now, or was at `version`."""
        return Ledger.read(Log(self.uri, self.storage), version)

    def committed(self, plan: Plan) -> set[int]:
        """Return the shards of a job of which the table holds every row."""
        return set(shards_within(plan, self.done(plan)))

    def counts(self) -> dict[str, int]:
        """Return the number of rows by status."""
        counted = self.newest(lambda rows: rows.count_by("status"))
        return dict.fromkeys(_STATUSES, 0) | {status: rows for (status,), rows in counted.items()}

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the rows as they are now, or were at `version`."""
        return Snapshot(self.open(version), self.uri, self.storage)

    def rows(self, columns: Sequence[str] | None = None, where: Filters = ()) -> Iterator[dict[str, Any]]:
        """Yield rows, in the order of their ids.

        Args:
            columns: all by default.
            where: which rows; all by default.
        """
        yield from self.newest(lambda rows: rows.read(columns, where, [("sample_id", "ascending")])).to_pylist()


class CommitFeed:
    """The commits of one job as they arrive, read from the table's log by anybody who can reach it.

    Args:
        table: the results table; it exists.
        plan: the job.

    Attributes:
        done: committed rows.
        failed: failed rows among those committed since the feed was made.
        nfe: network evaluations spent on them.
    """

    def __init__(self, table: ResultsTable, plan: Plan) -> None:
        self._plan, self._log = plan, Log(table.uri, table.storage)
        self._ledger = table.ledger()
        self.done = self._ledger.done(plan.job_id)
        self.failed, self.nfe = 0, 0

    @property
    def rows(self) -> int:
        """Number of committed rows."""
        return len(self.done)

    @property
    def shards(self) -> Ranges:
        """Shards of which every row is committed."""
        return shards_within(self._plan, self.done)

    def poll(self) -> None:
        """Take in what has been committed since the last look: one request where nothing has."""
        before = self._ledger.version
        for version, actions in self._log.follow(before):
            self._ledger.take(version, actions)
            info = info_of(actions)
            if info.get("job_id") == self._plan.job_id:
                self.failed += int(info["failed"])
                self.nfe += int(info["nfe"])
        if self._ledger.version > before:
            self.done = self._ledger.done(self._plan.job_id)


def shards_within(plan: Plan, rows: Ranges) -> Ranges:
    """Return the shards of a job whose rows are all among some."""
    each = plan.shard_rows
    stops = ((start, plan.shards if stop == plan.rows else stop // each) for start, stop in rows.spans)
    return Ranges.of(*((-(-start // each), stop) for start, stop in stops))
