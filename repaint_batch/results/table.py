"""The results table: a Delta Lake table with one row a sample, and one transaction a shard.

Every commit carries the transaction id ``JOB_ID/SHARD``. Before writing, the table is asked whether it holds that id; two
writers that get past the question conflict in Delta's own protocol, and one of them loses. So a shard is in the table once,
however often its task ran.

A transaction's number is odd while its shard is in the table. A rollback makes it even, in the same commit that takes the
rows out, so that the shard may be committed again; numbers only ever grow, as Delta asks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.table import TableMerger

from repaint_batch.errors import CommitFailed, CommitUnknown
from repaint_batch.results.plan import Plan
from repaint_batch.results.reading import Filters, Snapshot, patiently
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage, delta_uri, join, normalise

_COMMIT_TRIES = 20
_STATUSES = ("ok", "skipped", "failed")


class ResultsTable:
    """The table of an output.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
    """

    def __init__(self, output: str, storage: Storage) -> None:
        self.uri = join(normalise(output), "results")
        self._delta_uri = delta_uri(self.uri)
        self._storage, self._options = storage, storage.delta_options()

    def create(self, passthrough: Sequence[pa.Field]) -> None:
        """Make the table if it is not there; `passthrough` are the manifest's own columns."""
        schema = pa.schema([*RESULTS, *passthrough])
        # Binary and free text make no useful statistics, and would bloat the log.
        configuration = {
            "delta.dataSkippingStatsColumns": "sample_id,status,job_id,shard,finished_at",
            "delta.checkpointInterval": "100",
        }
        patiently(
            lambda: DeltaTable.create(
                self._delta_uri, schema=schema, mode="ignore", storage_options=self._options, configuration=configuration
            )
        )

    def exists(self) -> bool:
        """Return whether the table has been made."""
        return bool(patiently(lambda: DeltaTable.is_deltatable(self._delta_uri, storage_options=self._options)))

    def open(self, version: int | None = None) -> DeltaTable:
        """Return the table as it is now, or was at `version`."""
        return patiently(lambda: DeltaTable(self._delta_uri, version=version, storage_options=self._options))

    def commit(self, plan: Plan, shard: int, rows: pa.Table) -> bool:
        """Publish a shard's rows in one transaction; return whether this call did it.

        False means that an earlier attempt already had.

        Raises:
            CommitFailed: the table certainly does not hold the shard.
            CommitUnknown: nobody knows; ask `committed` later.
        """
        transaction, facts = transaction_id(plan.job_id, shard), _facts(plan, shard, rows)
        last: Exception | None = None
        for _ in range(_COMMIT_TRIES):
            table = self.open()
            if holds(table, transaction):
                return False
            number = (transaction_number(table, transaction) or 0) + 1
            properties = CommitProperties(
                app_transactions=[Transaction(transaction, number)], custom_metadata=facts, max_commit_retries=15
            )
            try:
                _write(table, rows, plan.mode, properties)
                return True
            except CommitFailedError as error:
                # Another shard's merge, or this shard's own earlier attempt: the next look at the table tells.
                last = error
            except (DeltaError, OSError) as error:
                try:
                    known = holds(self.open(), transaction)
                except (DeltaError, OSError) as unreachable:
                    raise CommitUnknown(f"shard {shard}: the table at {self.uri} cannot be asked: {unreachable}") from error
                if known:
                    return True
                last = error
        raise CommitFailed(f"shard {shard}: {self.uri} refused {_COMMIT_TRIES} commits; the last said: {last}") from last

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

    def vacuum(self, hours: float) -> None:
        """Delete data files that no version younger than `hours` needs."""
        self.open().vacuum(retention_hours=int(hours), enforce_retention_duration=False, dry_run=False)

    def committed(self, plan: Plan) -> set[int]:
        """Return the shards of a job that the table holds."""
        return patiently(lambda: self._committed(plan)) if self.exists() else set()

    def _committed(self, plan: Plan) -> set[int]:
        table = self.open()
        shards: set[int] = set()
        superseded = plan.mode == "upsert"
        actions = pa.table(table.get_add_actions(flatten=True))
        names = ("min.job_id", "max.job_id", "min.shard", "max.shard")
        if len(actions) and all(name in actions.column_names for name in names):
            for low_job, high_job, low, high in zip(*(actions[name].to_pylist() for name in names), strict=True):
                if (low_job, low) == (high_job, high) and low_job == plan.job_id:
                    shards.add(low)
                else:
                    superseded = True
        if superseded:
            # Another job has rewritten files, so they no longer tell: ask for each transaction that is not accounted for.
            pending = set(range(plan.shards)) - shards
            shards |= {shard for shard in pending if holds(table, transaction_id(plan.job_id, shard))}
        return shards

    def counts(self) -> dict[str, int]:
        """Return the number of rows by status."""
        counted = patiently(lambda: self.snapshot().count_by("status"))
        return dict.fromkeys(_STATUSES, 0) | {status: rows for (status,), rows in counted.items()}

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Return the rows as they are now, or were at `version`."""
        return Snapshot(self.open(version), self.uri, self._storage)

    def rows(self, columns: Sequence[str] | None = None, where: Filters = ()) -> Iterator[dict[str, Any]]:
        """Yield rows, in the order of their ids.

        Args:
            columns: all by default.
            where: which rows; all by default.
        """
        found: pa.Table = patiently(lambda: self.snapshot().read(columns, where, [("sample_id", "ascending")]))
        yield from found.to_pylist()


class CommitFeed:
    """The commits of one job as they arrive, read from the table's log by anybody who can reach it.

    Args:
        table: the results table; it exists.
        plan: the job.

    Attributes:
        shards: committed shards.
        failed: failed rows among those committed since the feed was made.
        nfe: network evaluations spent on them.
    """

    def __init__(self, table: ResultsTable, plan: Plan) -> None:
        self._table, self._plan = table, plan
        self._version = table.open().version()
        self.shards = table.committed(plan)
        self.failed, self.nfe = 0, 0

    @property
    def rows(self) -> int:
        """Rows of the committed shards."""
        return sum(stop - start for start, stop in map(self._plan.shard_range, self.shards))

    def poll(self) -> None:
        """Take in what has been committed since the last look."""
        table = self._table.open()
        version = table.version()
        if version == self._version:
            return
        for entry in patiently(lambda: table.history(limit=version - self._version)):
            if entry.get("job_id") == self._plan.job_id:
                self.shards.add(int(entry["shard"]))
                self.failed += int(entry["failed"])
                self.nfe += int(entry["nfe"])
        self._version = version


def _facts(plan: Plan, shard: int, rows: pa.Table) -> dict[str, str]:
    failed = pc.sum(pc.equal(rows["status"], "failed")).as_py()
    nfe = pc.sum(rows["nfe"]).as_py() or 0
    return {"job_id": plan.job_id, "shard": str(shard), "failed": str(failed), "nfe": str(nfe)}


def transaction_id(job_id: str, shard: int) -> str:
    """Return the Delta application id of a shard's one commit."""
    return f"{job_id}/{shard}"


def holds(table: DeltaTable, transaction: str) -> bool:
    """Return whether a shard's rows are in this version of the table, or were superseded in it."""
    number = transaction_number(table, transaction)
    return number is not None and number % 2 == 1


def transaction_number(table: DeltaTable, transaction: str) -> int | None:
    """Return the number that a transaction has in this version of the table; None if there is no such transaction."""
    number: int | None = patiently(lambda: table.transaction_version(transaction))  # which reads the log once more
    return number


def _write(table: DeltaTable, rows: pa.Table, mode: str, properties: CommitProperties) -> None:
    if mode == "append":
        write_deltalake(table, rows, mode="append", commit_properties=properties)
        return
    merge = table.merge(
        rows, "t.sample_id = s.sample_id", source_alias="s", target_alias="t", commit_properties=properties
    )
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
