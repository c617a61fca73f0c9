"""A job of a million rows: what is committed is known without asking for each."""

import json
import time

import pytest

from repaint_batch.table.committer import Committer
from repaint_batch.table.ledger import Ledger
from repaint_batch.table.log import Log
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import CommitFeed, ResultsTable
from repaint_batch.table.staging import Entry

from ..conftest import Place
from ..publishing import empty_table, plan_of

ROWS, PARCEL_ROWS = 1_000_000, 40


def fabricated(job_id: str, start: int, stop: int) -> Entry:
    """Return the entry of an object that nobody has put there."""
    bounds = {"job_id": job_id, "status": "ok", "row": start}
    stats = {"numRecords": stop - start, "minValues": bounds, "maxValues": bounds | {"row": stop - 1}, "nullCount": {}}
    return Entry(job_id, "a", start, stop, f"part-{start:010d}.parquet", 40_000, 0, json.dumps(stats), 0, 0, 0)


@pytest.mark.slow
def test_a_job_of_a_million_rows_is_planned(place: Place) -> None:
    plan = plan_of(place, rows=ROWS, shard_rows=64)
    table = empty_table(place)
    # Every second parcel, so that no range is long.
    spans = [(start, start + PARCEL_ROWS) for start in range(0, ROWS, 2 * PARCEL_ROWS)]
    with Committer(table, plan, 1) as committer:
        for future in [committer.submit(fabricated(plan.job_id, *span)) for span in spans]:
            assert future.result()
    table.open().create_checkpoint()
    took = {}
    for name, ask in {
        "ledger": lambda: Ledger.read(Log(table.uri, place.storage)).done(plan.job_id),
        "feed": lambda: CommitFeed(ResultsTable(place.uri, place.storage), plan).done,
        "committer": lambda: Committer(ResultsTable(place.uri, place.storage), plan, 2).done,
    }.items():
        started = time.perf_counter()
        assert ask() == Ranges.of(*spans)
        took[name] = time.perf_counter() - started
    print(f"{ROWS:,} rows in parcels of {PARCEL_ROWS}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()))
