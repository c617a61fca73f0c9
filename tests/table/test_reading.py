"""Rows that are read are the rows that stand in the table, whichever way it was written."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from repaint_batch.table.reading import Filters, Order, Snapshot
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..publishing import empty_table, plan_of, publish, shard_of

Row = dict[str, Any]


@pytest.fixture
def table(place: Place) -> ResultsTable:
    """Ten rows of three appended shards; a job that came later has merged two of them anew, and failed."""
    table, plan = empty_table(place), plan_of(place)
    for shard in range(plan.shards):
        publish(table, plan, shard_of(plan, shard))
    later = replace(plan_of(place, rows=2, shard_rows=2), mode="upsert", job_id="f" * 16)
    publish(table, later, shard_of(later, 0, "again", "failed"))
    return table


@pytest.mark.parametrize("most", [None, 0, 3, 100])
def test_rows_come_in_order(table: ResultsTable, most: int | None) -> None:
    snapshot = table.snapshot()
    wanted = sorted(all_rows(snapshot), key=lambda row: (-row["shard"], row["attempt"], row["sample_id"]))[:most]
    order: Order = [("shard", "descending"), ("attempt", "ascending"), ("sample_id", "ascending")]
    found = snapshot.read(("sample_id",), order=order, most=most)
    assert found.to_pylist() == [{"sample_id": row["sample_id"]} for row in wanted]


def all_rows(snapshot: Snapshot) -> list[Row]:
    return sorted((row for batch in snapshot.batches() for row in batch.to_pylist()), key=lambda row: row["sample_id"])


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ((), 10),
        ([("status", "=", "failed")], 2),
        ([("status", "!=", "failed"), ("shard", "=", 0)], 2),
        ([("sample_id", "in", ["id-1", "id-7", "nobody"])], 2),
        ([("sample_id", "=", "it's not here")], 0),
        ([("shard", ">=", 1), ("job_id", "!=", "f" * 16)], 6),
    ],
)
def test_conditions_choose_rows(table: ResultsTable, where: Filters, found: int) -> None:
    tests = {
        "=": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">=": lambda a, b: a >= b,
        "in": lambda a, b: a in b,
    }
    snapshot = table.snapshot()
    wanted = [row for row in all_rows(snapshot) if all(tests[how](row[name], value) for name, how, value in where)]
    assert len(wanted) == found
    assert snapshot.read(where=where).sort_by("sample_id").to_pylist() == wanted
    few = snapshot.read(("sample_id", "attempt"), where)
    assert few.column_names == ["sample_id", "attempt"]
    assert few.sort_by("sample_id").to_pylist() == [{name: row[name] for name in ("sample_id", "attempt")} for row in wanted]
    assert list(table.rows(where=where)) == wanted
    assert list(table.rows(("attempt",), where)) == [{"attempt": row["attempt"]} for row in wanted]


@pytest.mark.parametrize("keys", [("status",), ("job_id", "shard"), ("attempt",)])
def test_rows_are_counted(table: ResultsTable, keys: tuple[str, ...]) -> None:
    """The first two have statistics, which tell all about some of the files; the last has none."""
    snapshot = table.snapshot()
    assert snapshot.count_by(*keys) == Counter(tuple(row[key] for key in keys) for row in all_rows(snapshot))


def test_what_the_log_tells_is_not_read(place: Place) -> None:
    table, plan = empty_table(place), plan_of(place)
    for shard, status in enumerate(("ok", "skipped", "ok")):
        publish(table, plan, shard_of(plan, shard, status=status))
    snapshot = table.snapshot()
    for uri, _ in list(place.storage.list(table.uri)):
        if uri.endswith(".parquet"):
            place.storage.delete(uri)
    assert snapshot.count_by("status") == {("ok",): 6, ("skipped",): 4}


def test_a_snapshot_is_of_its_version(table: ResultsTable) -> None:
    before = table.snapshot(table.open().version() - 1)
    assert before.read(("sample_id",), [("status", "=", "failed")]).num_rows == 0
    assert pa.Table.from_batches(list(before.batches(("sample_id",)))).column_names == ["sample_id"]
