"""A table that lives: fewer files with the same rows, a log that is cut where nobody may go back, columns that come later."""

import io
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import freeze
from repaint_batch.outputs.history import read_history, rollback
from repaint_batch.outputs.naming import named_images
from repaint_batch.table.committer import Committer
from repaint_batch.table.log import Dated, Log
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import stage
from repaint_batch.table.upkeep import MANY_FILES, compact, cut, first_kept, write_checkpoint

from ..conftest import Place
from ..publishing import plan_of, shard_of


def filled(place: Place, files: int) -> ResultsTable:
    """Return a table of so many files, of one row each, and one removed."""
    plan = plan_of(place, rows=files + 1, shard_rows=1)
    freeze(plan, place.uri, place.storage)
    table = ResultsTable(place.uri, place.storage)
    table.create([])
    with Committer(table, plan, None) as committer:
        for future in [committer.submit(stage(table, plan, shard_of(plan, row), "a")) for row in range(files + 1)]:
            future.result()
    table.remove(pa.table({"sample_id": ["id-3"]}), {})
    return table


def test_many_small_files_become_one_with_the_same_rows(place: Place) -> None:
    table = filled(place, MANY_FILES)
    before, done, version = list(table.rows()), table.ledger().jobs, table.open().version()
    assert len(before) == MANY_FILES
    assert compact(table) == MANY_FILES
    assert list(table.rows()) == before
    assert table.counts()["ok"] == MANY_FILES
    assert len(table.snapshot().files()) == 1
    assert table.ledger().jobs == done
    assert compact(table) == 0, "there is nothing left to put together"
    assert all(change.is_whole for change in read_history(place.uri, place.storage))
    rollback(place.uri, version, place.storage)
    assert len(table.snapshot().files()) == MANY_FILES
    assert list(table.rows()) == before


@given(
    ages=st.lists(st.integers(0, 90), min_size=1, max_size=30),
    whole=st.sets(st.integers(0, 29)),
    keep=st.integers(0, 60),
)
def test_whatever_was_the_newest_in_the_time_to_keep_can_still_be_made(ages: list[int], whole: set[int], keep: int) -> None:
    dates = [100 - age for age in sorted(ages, reverse=True)]
    whole = {version for version in whole if version < len(dates)}
    objects = [Dated(version, "", date, is_checkpoint=False) for version, date in enumerate(dates)]
    first = first_kept(objects, whole, keep)
    assert first == 0 or first in whole, "a log begins with a checkpoint, or at the beginning"
    for day in range(max(dates) - keep, max(dates) + 1):
        there = [version for version, date in enumerate(dates) if date <= day]
        assert not there or there[-1] >= first


def test_a_log_that_was_cut_begins_with_its_checkpoint(place: Place) -> None:
    table = filled(place, 3)
    log, newest = Log(table.uri, place.storage), table.open().version()
    rows, ledger = list(table.rows()), table.ledger().jobs
    cut(log, -10, place.storage)
    assert log.listed()[0] == list(range(newest + 1)), "without a checkpoint nothing can be cut"
    write_checkpoint(log, place.storage, newest, {})
    cut(log, 3600, place.storage)
    assert log.listed()[0] == list(range(newest + 1)), "all of it is young"
    cut(log, -10, place.storage)
    assert log.listed()[0] == [newest]
    opened = ResultsTable(place.uri, place.storage)
    assert (list(opened.rows()), opened.ledger().jobs) == (rows, ledger)
    assert [change.last for change in read_history(place.uri, place.storage)] == [newest]
    with pytest.raises(ConfigError, match=rf"has no such version; it has {newest} to {newest}"):
        rollback(place.uri, newest - 1, place.storage)


def test_a_job_that_begins_leaves_a_log_as_old_as_it_is(local_place: Place) -> None:
    table = filled(local_place, 3)
    log = Log(table.uri, local_place.storage)
    write_checkpoint(log, local_place.storage, table.open().version(), {})
    for entry in log.dated():
        os.utime(entry.uri, (10**9, 10**9))  # deltalake's own cleaning takes what is older than thirty days
    before = log.dated()
    with Committer(table, plan_of(local_place, rows=4, shard_rows=1), None):
        assert log.dated() == before


def test_a_table_takes_columns_that_come_later(place: Place) -> None:
    table, plan = ResultsTable(place.uri, place.storage), plan_of(place)
    note = pa.field("note", pa.string(), nullable=False)
    with_note = shard_of(plan, 1).append_column(note, pa.array(["new"] * 4))
    table.create([])
    with Committer(table, plan, None) as committer:
        committer.commit(stage(table, plan, shard_of(plan, 0), "a"))
    table.create([note])
    with Committer(table, plan, None) as committer:
        committer.commit(stage(table, plan, with_note, "a"))
        committer.commit(stage(table, plan, shard_of(plan, 2), "a"))
    found: dict[str, Any] = {row["sample_id"]: row["note"] for row in table.rows(("sample_id", "note"))}
    assert found == {f"id-{row}": "new" if 4 <= row < 8 else None for row in range(10)}
    version = table.open().version()
    table.create([note])
    assert table.open().version() == version, "nothing was missing"
    with pytest.raises(ConfigError, match="has string in column 'note', the manifest has int64"):
        table.create([pa.field("note", pa.int64())])


def test_pictures_named_in_views_are_found(local_place: Place) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"output_uri": pa.array(["a.png", None], pa.string_view())}), buffer)
    uri = f"{local_place.uri}/part.parquet"
    local_place.storage.write(uri, buffer.getvalue())
    assert named_images([uri], local_place.storage) == ["a.png"]
