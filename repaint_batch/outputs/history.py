"""What became of an output, version by version, and the way back.

A rollback is one commit: it makes the table's rows what they were at an earlier version, and the ledger of what is committed
likewise. Nothing is rewritten, so that a rollback can itself be rolled back.
Jobs of which the table then holds nothing are withdrawn, and no longer pending. Files in ``images/`` have names that are
unique to their attempt and are never written over: those that the rows name are as they were, or the rollback is refused.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.exceptions import DeltaError

from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.jobs.lease import NIGHT_LEASE, Lease
from repaint_batch.jobs.plan import load_plans, load_withdrawn, reinstate, withdraw
from repaint_batch.outputs.naming import named_images
from repaint_batch.storage import Storage
from repaint_batch.table.ledger import Ledger, epoch_id
from repaint_batch.table.log import Action, Log, info_of
from repaint_batch.table.reading import data_files
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join, normalise

ROLLBACK = "rollback_to"
REMOVED = "removed"
"""Keys under which commits that are no job's say in the log what they did."""
NIGHT_FORMAT = "%Y%m%dT%H%M%S.%fZ"
"""How a night's folder is called, by when it began, UTC."""
_NAMED = 3


@dataclass(frozen=True)
class Change:
    """Successive versions of the table that one cause made: a job that was stopped and went on is two.

    Attributes:
        first: the first of them.
        last: the last; it is what `rollback` is asked to go back to.
        at: time of the last.
        what: ``created``, ``job``, ``rollback``, ``removal`` or ``upkeep``.
        job_id: the job, where it is one.
        rows: how many of its rows were committed.
        failed: failed ones among them.
        to: the version that a rollback went back to.
        removed: rows that a removal took out.
        is_whole: whether all data files of the last version are still there; older ones are given up by retention.
    """

    first: int
    last: int
    at: datetime
    what: str
    job_id: str | None = None
    rows: int = 0
    failed: int = 0
    to: int | None = None
    removed: int = 0
    is_whole: bool = True


@dataclass(frozen=True)
class Rollback:
    """What a rollback did.

    Attributes:
        version: the version that it made.
        counts: rows of the table by status, as they are again.
        withdrawn: jobs of which nothing is left.
        reinstated: jobs withdrawn earlier, whose rows are back.
    """

    version: int
    counts: dict[str, int]
    withdrawn: tuple[str, ...]
    reinstated: tuple[str, ...]


def read_history(output: str, storage: Storage) -> list[Change]:
    """Return what became of an output's table, oldest first, as far as its log goes back.

    Raises:
        NothingToResume: there is no table.
    """
    table = _table_of(output, storage)
    log = Log(table.uri, storage)
    versions, checkpoints = log.listed()
    changes: list[Change] = []
    cause: tuple[str | None, int | None] = None, None  # of the last version: the job, and which of its drivers
    moved: list[tuple[int, set[str], set[str]]] = []
    for version, actions in log.entries(versions):
        change = _change(version, info_of(actions))
        earlier, cause = cause, (change.job_id, _epoch(change, actions))
        if change.job_id and earlier == cause:
            before = changes.pop()
            change = replace(change, first=before.first, rows=before.rows + change.rows, failed=before.failed + change.failed)
        changes.append(change)
        moved.append((version, _paths(actions, "add"), _paths(actions, "remove")))
    # A version can be opened if all entries since a checkpoint, or since the first, are there.
    since = min((found.version for found in checkpoints if found.version + 1 >= versions[0]), default=0)
    whole = {version for version in _whole(table, moved, storage) if versions[0] == 0 or version >= since}
    return [replace(change, is_whole=change.last in whole) for change in changes]


def _whole(table: ResultsTable, moved: list[tuple[int, set[str], set[str]]], storage: Storage) -> Iterator[int]:
    """Yield the versions of which all data files are there, from the newest back.

    Args:
        table: the results table.
        moved: version, files added in it, files removed in it; ascending.
        storage: how to reach it.
    """
    present = _names(table.uri, storage)
    missing = {uri.rpartition("/")[2] for uri in data_files(table.open(moved[-1][0]), table.uri)} - present
    for version, added, removed in reversed(moved):
        if not missing:
            yield version
        missing = (missing - added) | (removed - present)


def rollback(output: str, to: int, storage: Storage) -> Rollback:
    """Make an output what it was at an earlier version, or at a later one that was rolled back.

    Args:
        output: folder or prefix of the output.
        to: the version.
        storage: how to reach it.

    Raises:
        NothingToResume: there is no table.
        ConfigError: there is no such version, or files of it are gone.
        LeaseHeld: a job is running, or a night.
    """
    table = _table_of(output, storage)
    try:
        table.open(to)
    except DeltaError as error:
        kept = Log(table.uri, storage).listed()[0]
        raise ConfigError(f"--to {to}: {table.uri} has no such version; it has {kept[0]} to {kept[-1]}") from error
    _refuse_gaps(output, table, to, storage)
    then = table.ledger(to)
    with _nobody_running(output, table, then, storage) as epochs:
        now = table.open()
        ledger = table.ledger(now.version())
        # With the leases' epochs: a driver that was paused meanwhile publishes nothing of what is taken out.
        numbers = ledger.turning(then) | {epoch_id(job_id): epoch for job_id, epoch in epochs.items()}
        turned = [Transaction(name, number) for name, number in numbers.items()]
        now.restore(to, commit_properties=CommitProperties(app_transactions=turned, custom_metadata={ROLLBACK: str(to)}))
        withdrawn, reinstated = _settle(output, table, storage)
    return Rollback(table.open().version(), table.counts(), withdrawn, reinstated)


def removed_ids(output: str, storage: Storage) -> dict[str, datetime]:
    """Return when the last night began that has taken a row out of an output, by the row's id."""
    removed: dict[str, datetime] = {}
    for uri, _ in storage.list(join(normalise(output), "nights")):
        if uri.endswith("/removed.parquet"):
            began = datetime.strptime(uri.split("/")[-2], NIGHT_FORMAT).replace(tzinfo=UTC)
            filesystem, path = storage.arrow(uri)
            ids = pq.read_table(path, filesystem=filesystem, columns=["sample_id"])["sample_id"].to_pylist()
            removed |= {sample_id: max(began, removed.get(sample_id, began)) for sample_id in ids}
    return removed


def _settle(output: str, table: ResultsTable, storage: Storage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Withdraw the jobs of which the table holds nothing any more, and reinstate those of which it does again."""
    ledger = table.ledger()
    gone = [plan for plan in load_plans(output, storage) if plan.job_id in ledger.jobs and not ledger.done(plan.job_id)]
    back = [plan for plan in load_withdrawn(output, storage) if ledger.done(plan.job_id)]
    for plan in gone:
        withdraw(plan, output, storage)
    for plan in back:
        reinstate(plan, output, storage)
    return tuple(plan.job_id for plan in gone), tuple(plan.job_id for plan in back)


@contextlib.contextmanager
def _nobody_running(output: str, table: ResultsTable, then: Ledger, storage: Storage) -> Iterator[dict[str, int]]:
    """Hold the leases of those who might write to the table, or whose rows change; yield the epochs by job."""
    now = table.ledger()
    changed = {name.rpartition("/")[0] for name in now.turning(then)}
    with contextlib.ExitStack() as leases:
        leases.enter_context(Lease(output, NIGHT_LEASE, storage))
        plans = [
            plan
            for plan in load_plans(output, storage)
            if plan.job_id in changed or len(now.done(plan.job_id)) < plan.rows
        ]
        yield {plan.job_id: leases.enter_context(Lease(output, plan.job_id, storage)).epoch for plan in plans}


def _table_of(output: str, storage: Storage) -> ResultsTable:
    table = ResultsTable(output, storage)
    if not table.exists():
        raise NothingToResume(f"{output}: there are no results; check the output")
    return table


def _paths(actions: list[Action], kind: str) -> set[str]:
    """Return the names of the data files that actions add or remove. Paths in the log are percent-encoded."""
    return {unquote(action[kind]["path"]).rpartition("/")[2] for action in actions if kind in action}


def _epoch(change: Change, actions: list[Action]) -> int | None:
    """Return under which generation of its lease a job made a version."""
    names = (action["txn"] for action in actions if "txn" in action)
    return next((int(txn["version"]) for txn in names if change.job_id and txn["appId"] == epoch_id(change.job_id)), None)


def _change(version: int, entry: dict[str, Any]) -> Change:
    at = datetime.fromtimestamp(entry.get("timestamp", 0) / 1000, UTC)
    if "job_id" in entry:
        return Change(version, version, at, "job", entry["job_id"], int(entry["rows"]), int(entry["failed"]))
    if ROLLBACK in entry:
        return Change(version, version, at, "rollback", to=int(entry[ROLLBACK]))
    if REMOVED in entry:
        return Change(version, version, at, "removal", removed=int(entry[REMOVED]))
    return Change(version, version, at, "created" if version == 0 else "upkeep")


def _names(uri: str, storage: Storage) -> set[str]:
    return {found.rpartition("/")[2] for found, _ in storage.walk(uri)}


def _missing_data(table: ResultsTable, version: int, present: set[str]) -> list[str]:
    try:
        uris = data_files(table.open(version), table.uri)
    except DeltaError:  # the log no longer goes back that far
        return [f"the log of version {version}"]
    return [uri for uri in uris if uri.rpartition("/")[2] not in present]


def _refuse_gaps(output: str, table: ResultsTable, version: int, storage: Storage) -> None:
    missing = _missing_data(table, version, _names(table.uri, storage))
    if not missing:
        named = named_images(data_files(table.open(version), table.uri), storage)
        if named:
            images = _names(join(normalise(output), "images"), storage)
            missing = [uri for uri in named if uri.rpartition("/")[2] not in images]
    if missing:
        first = ", ".join(missing[:_NAMED])
        raise ConfigError(
            f"--to {version}: {len(missing):,} of its files are gone, such as {first}; "
            "`repaint-batch history` shows the versions that are whole"
        )
