"""One committer a job: each row once, whatever comes twice, overlaps, is late, is lost, or is another driver's."""

import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.errors import CommitUnknown, ConfigError, Fenced, StorageError
from repaint_batch.jobs.plan import Plan
from repaint_batch.storage import Storage
from repaint_batch.table import committer as module
from repaint_batch.table.committer import Committer
from repaint_batch.table.ledger import BLOCK_ROWS, Ledger
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import CommitFeed, ResultsTable

from ..conftest import Place
from ..publishing import empty_table, plan_of, staged

ROWS = 120


def attempts(table: ResultsTable) -> dict[int, str]:
    """Return who published each row; fails if a row stands there twice."""
    found = table.snapshot().read(["row", "attempt"]).to_pylist()
    assert len({row["row"] for row in found}) == len(found)
    return {row["row"]: row["attempt"] for row in found}


@pytest.fixture
def plan(place: Place) -> Plan:
    return plan_of(place, rows=ROWS, shard_rows=20)


def test_a_parcel_is_published_once(place: Place, plan: Plan) -> None:
    table = empty_table(place)
    feed = CommitFeed(table, plan)
    with Committer(table, plan, 1) as committer:
        first = pickle.loads(pickle.dumps(staged(table, plan, 10, 70, "first", status="failed")))
        assert not attempts(table), "staged is not published"
        assert committer.commit(first)
        assert not committer.commit(first)
        assert not committer.commit(staged(table, plan, 20, 30, "second"))
        assert committer.done == Ranges.of((10, 70))
        assert (committer.counts.rows, committer.counts.failed, committer.counts.transactions) == (60, 60, 1)
    assert attempts(table) == dict.fromkeys(range(10, 70), "first")
    assert table.done(plan) == Ranges.of((10, 70))
    assert table.counts() == {"ok": 0, "skipped": 0, "failed": 60}
    feed.poll()
    assert (feed.done, feed.rows, set(feed.shards), feed.failed, feed.nfe) == (Ranges.of((10, 70)), 60, {1, 2}, 60, 180)


def test_what_came_in_meanwhile_is_one_transaction(place: Place, plan: Plan) -> None:
    table = empty_table(place)
    with Committer(table, plan, 1) as committer:
        entries = [staged(table, plan, start, start + 4) for start in range(0, ROWS, 4)]
        futures = [committer.submit(entry) for entry in entries]
        assert all(future.result() for future in futures)
        assert committer.counts.parcels == len(entries)
        assert committer.counts.transactions == table.open().version() < len(entries)
    assert len(attempts(table)) == ROWS


def test_rows_that_are_there_are_trimmed_off(place: Place, plan: Plan) -> None:
    table = empty_table(place)
    with Committer(table, plan, 1) as committer:
        futures = [committer.submit(staged(table, plan, *span, name)) for span, name in [((10, 20), "a"), ((30, 40), "b")]]
        assert all(future.result() for future in futures)
        assert committer.commit(staged(table, plan, 5, 50, "c"))
    seen = attempts(table)
    assert {name: [row for row in seen if seen[row] == name] for name in "abc"} == {
        "a": list(range(10, 20)),
        "b": list(range(30, 40)),
        "c": [*range(5, 10), *range(20, 30), *range(40, 50)],
    }


def test_a_driver_that_was_superseded_publishes_nothing_more(place: Place, plan: Plan) -> None:
    table, theirs = empty_table(place), ResultsTable(place.uri, place.storage)
    with Committer(table, plan, 1) as early, Committer(theirs, plan, 2) as late:
        assert early.commit(staged(table, plan, 0, 5, "early"))
        # The later driver has not seen that, and finds out.
        assert late.commit(staged(theirs, plan, 0, 10, "late"))
        for _ in range(2):
            with pytest.raises(Fenced, match=r"another driver has taken it over \(lease 2, this one had 1\)"):
                early.commit(staged(table, plan, 20, 30, "early"))
        assert late.commit(staged(theirs, plan, 20, 30, "late"))
    assert Counter(attempts(table).values()) == {"early": 5, "late": 15}
    with pytest.raises(Fenced):
        Committer(table, plan, 1)


def test_threads_publish_through_one_committer(place: Place, plan: Plan) -> None:
    table = empty_table(place)
    spans = [(start, min(start + 7, ROWS)) for start in range(0, ROWS, 3)]  # they overlap

    with Committer(table, plan, 1) as committer:

        def publish(number: int) -> list[bool]:
            mine = spans[number % 4 :: 4]  # and every one comes twice
            return [committer.commit(staged(table, plan, *span, f"thread-{number}")) for span in mine]

        with ThreadPoolExecutor(8) as pool:
            published = sum(map(sum, pool.map(publish, range(8))))
    assert attempts(table).keys() == set(range(ROWS))
    assert len(set(attempts(table).values())) <= published


def test_racing_drivers_of_one_epoch(place: Place, plan: Plan) -> None:
    tables = [empty_table(place) for _ in range(4)]
    start = threading.Barrier(len(tables))

    def drive(number: int) -> int:
        with Committer(tables[number], plan, None) as committer:
            start.wait()
            return sum(committer.commit(staged(tables[number], plan, k, k + 10, f"{number}")) for k in range(0, ROWS, 10))

    with ThreadPoolExecutor(len(tables)) as pool:
        assert sum(pool.map(drive, range(len(tables)))) == ROWS / 10
    assert len(attempts(tables[0])) == ROWS


@pytest.mark.parametrize("listed", [None, 200], ids=["retry", "night"])
def test_an_upsert_replaces_rows_and_adds_others(place: Place, plan: Plan, listed: int | None) -> None:
    table = empty_table(place)
    with Committer(table, plan, 1) as committer:
        for start in range(0, ROWS, 20):
            committer.commit(staged(table, plan, start, start + 20, status="failed"))
    again = replace(plan, mode="upsert", job_id="f" * 16, rows=40, listed=listed)
    with Committer(table, again, 1) as committer:
        new = staged(table, again, 0, 10, "new", ids="new-{:04d}")
        old = staged(table, again, 10, 20, "old")
        mixed = staged(table, again, 20, 30, "mixed")
        assert all(future.result() for future in [committer.submit(entry) for entry in (new, old, mixed)])
        assert not committer.commit(staged(table, again, 12, 30, "late"))
        assert committer.commit(staged(table, again, 25, 40, "late"))
        assert committer.done == Ranges.of((0, 40))
    assert table.counts() == {"ok": 40, "skipped": 0, "failed": ROWS - 30}
    seen = {row["sample_id"]: row["attempt"] for row in table.rows(("sample_id", "attempt"))}
    assert len(seen) == ROWS + 10
    assert Counter(seen.values()) == {"a": ROWS - 30, "new": 10, "old": 10, "mixed": 10, "late": 10}
    assert table.done(plan) == Ranges.of((0, ROWS)), "superseded rows are not pending again"
    operations = [entry["operation"] for entry in table.open().history() if entry.get("job_id") == again.job_id]
    assert ("WRITE" in operations) == (listed is not None), "where nothing is replaced nothing is merged"
    assert "MERGE" in operations


def test_the_ledger_survives_what_becomes_of_the_log(local_place: Place) -> None:
    plan, table = plan_of(local_place, rows=ROWS), empty_table(local_place)
    with Committer(table, plan, 3) as committer:
        for start in range(0, 100, 10):
            committer.commit(staged(table, plan, start, start + 10))
    table.open().optimize.compact()
    delta = table.open()
    delta.create_checkpoint()
    for entry in Path(table.uri, "_delta_log").glob("*.json"):
        if int(entry.stem) < delta.version():
            entry.unlink()
    assert table.done(plan) == Ranges.of((0, 100))
    with pytest.raises(Fenced):
        Committer(table, plan, 2)
    with Committer(table, plan, 4) as committer:
        assert not committer.commit(staged(table, plan, 40, 60))
        assert committer.commit(staged(table, plan, 90, 110, "b"))
    assert len(attempts(table)) == 110


def test_many_transactions_leave_checkpoints(local_place: Place) -> None:
    plan = plan_of(local_place, rows=250, shard_rows=10)
    table = empty_table(local_place)
    with Committer(table, plan, 1) as committer:
        for row in range(250):
            committer.commit(staged(table, plan, row, row + 1))
    log = Path(table.uri, "_delta_log")
    newest = max(int(path.name.split(".")[0]) for path in log.glob("*.checkpoint.parquet"))
    assert newest >= 100
    for entry in log.glob("*.json"):
        if int(entry.stem) <= newest:
            entry.unlink()
    assert table.done(plan) == Ranges.of((0, 250))
    assert len(attempts(table)) == 250


def test_a_table_with_features_of_later_versions_is_refused(local_place: Place) -> None:
    plan, table = plan_of(local_place), empty_table(local_place)
    table.open().alter.add_feature(TableFeatures.ChangeDataFeed, allow_protocol_versions_increase=True)
    with pytest.raises(ConfigError, match="asks its writers for"):
        Committer(table, plan, 1)


def test_an_object_that_is_gone_is_nobody_elses_trouble(place: Place, plan: Plan) -> None:
    table = empty_table(place)
    with Committer(table, plan, 1) as committer:
        committer.commit(staged(table, plan, 0, 10))
        lost, other = staged(table, plan, 5, 15), staged(table, plan, 15, 20)
        place.storage.delete(f"{table.uri}/{lost.path}")
        futures = [committer.submit(lost), committer.submit(other)]
        with pytest.raises(StorageError, match=r"part-0000000005-a-.*cannot be read"):
            futures[0].result()
        assert futures[1].result()
    assert attempts(table).keys() == {*range(10), *range(15, 20)}


Fault = str  # lost: performed, and the answer does not come; refused: not performed; late: performed later


class Shaky(Storage):
    """A store whose answers to conditional writes get lost: the law of the committer is tried on it in this process."""

    faults: list[Fault | None]
    late: list[Callable[[], Any]]

    def create(self, uri: str, data: bytes) -> bool:
        while self.late:
            self.late.pop()()
        fault = self.faults.pop(0) if self.faults else None
        if fault == "late":
            self.late.append(lambda: Storage.create(self, uri, data))
        if fault == "lost":
            super().create(uri, data)
        if fault is not None:
            raise StorageError(f"{uri}: {fault}")
        return super().create(uri, data)


@contextmanager
def shaky_table() -> Iterator[tuple[ResultsTable, Shaky]]:
    with TemporaryDirectory() as folder:
        storage = Shaky()
        storage.faults, storage.late = [], []
        table = ResultsTable(folder, storage)
        table.create([])
        yield table, storage


span = st.tuples(st.integers(0, 60), st.integers(1, BLOCK_ROWS + 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
fault = st.sampled_from([None, None, None, "lost", "refused", "late"])
commits = st.lists(st.tuples(st.integers(1, 3), span, st.lists(fault, max_size=3), st.integers(1, 2)), max_size=10)


@given(commits)
@settings(max_examples=60, deadline=None)
def test_each_row_is_there_once_whatever_happens(steps: list[tuple[int, tuple[int, int], list[Fault | None], int]]) -> None:
    """Drivers of three epochs commit overlapping parcels, some twice; answers get lost, and requests arrive late."""
    with pytest.MonkeyPatch.context() as patch, shaky_table() as (table, storage):
        patch.setattr(module, "_PAUSE_S", 0)
        plan = plan_of(Place(table.uri.removesuffix("/results"), storage.config), rows=ROWS)
        drivers: dict[int, Committer] = {}
        certain: set[int] = set()
        possible: set[int] = set()
        highest = 0
        for number, (epoch, (start, stop), faults, times) in enumerate(steps):
            if epoch not in drivers:
                if table.ledger().epoch(plan.job_id) > epoch:
                    with pytest.raises(Fenced):
                        Committer(table, plan, epoch)
                    continue
                drivers[epoch] = Committer(table, plan, epoch)
            entry = staged(table, plan, start, stop, f"step-{number}")
            storage.faults = list(faults)
            for _ in range(times):
                before = len(table.done(plan))
                try:
                    published = drivers[epoch].commit(entry)
                except Fenced:
                    assert highest > epoch
                    there = attempts(table)
                    while storage.late:
                        storage.late.pop()()
                    assert attempts(table) == there, "what a fenced driver asked for arrives to no effect"
                except CommitUnknown:
                    possible.update(range(start, stop))
                else:
                    assert epoch >= highest or not published, "what was there already may be said by anybody"
                    assert published or len(table.done(plan)) >= before
                    certain.update(range(start, stop))
                    possible.update(range(start, stop))
                highest = max(highest, table.ledger().epoch(plan.job_id))
                seen = attempts(table)
                assert certain <= seen.keys() <= possible
                assert Ranges.of_rows(seen) == table.done(plan), "the ledger says what is there"
        for driver in drivers.values():
            driver.close()


@given(st.lists(st.sets(st.integers(0, 3 * BLOCK_ROWS)), min_size=1, max_size=5))
def test_a_ledger_counts_rows_and_turns_back(adds: list[set[int]]) -> None:
    ledger, versions, committed = Ledger(0), [Ledger(0)], set[int]()

    def take(numbers: dict[str, int]) -> None:
        ledger.take(ledger.version + 1, [{"txn": {"appId": name, "version": number}} for name, number in numbers.items()])

    for rows in adds:
        take(ledger.adding("j", rows, 1))
        committed |= rows
        assert ledger.done("j") == Ranges.of_rows(committed)
        assert ledger.missing("j", range(200)) == sorted(set(range(200)) - committed)
        versions.append(deepcopy(ledger))
    for then in (versions[len(adds) // 2], versions[-1]):  # back, and forth again
        before = ledger.adding("j", ledger.done("j"), 1)
        turned = ledger.turning(then)
        assert all(number > before.get(name, 0) for name, number in turned.items()), "numbers grow"
        take(turned)
        assert ledger.done("j") == then.done("j")


def test_entries_are_read_by_others(local_place: Place) -> None:
    """deltalake, which has not written them, reads rows, statistics and history."""
    plan, table = plan_of(local_place, rows=ROWS), empty_table(local_place)
    with Committer(table, plan, 1) as committer:
        long = "é" * 90 + "{:04d}"
        committer.commit(staged(table, plan, 0, 30, ids=long))
        committer.commit(staged(table, plan, 30, 60, ids="b-{:04d}"))
    delta = DeltaTable(table.uri)
    assert delta.to_pyarrow_table().num_rows == 60
    assert delta.to_pyarrow_dataset().to_table(filter=pa.compute.field("sample_id") == long.format(29)).num_rows == 1
    files = pa.table(delta.get_add_actions(flatten=True)).sort_by("min.row")
    assert files["min.row"].to_pylist() == [0, 30]
    assert files["max.row"].to_pylist() == [29, 59]
    assert files["num_records"].to_pylist() == [30, 30]
    assert table.snapshot().read(["sample_id"], [("sample_id", "=", long.format(7))]).num_rows == 1
    assert [entry["rows"] for entry in delta.history() if "rows" in entry] == [30, 30]
