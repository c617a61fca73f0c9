"""What is done of a job of ten thousand shards, found out again; how long it takes is printed."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from repaint_batch.results.plan import Plan
from repaint_batch.results.table import CommitFeed, ResultsTable, transaction_id

from ..conftest import Place
from .test_table import made, plan_of, shard_rows

SHARDS, CHECKPOINT = 10_000, 9_900
"""As a job would leave it: checkpoints every hundred commits, of which the last one counts."""


def commits(place: Place, plan: Plan) -> None:
    """Write the log of a job of many commits, each a copy of a real one under another shard's name."""
    table = made(place)
    assert table.commit(plan, 0, shard_rows(plan, 0))
    log = f"{table.uri}/_delta_log"
    template = place.storage.read(f"{log}/{1:020d}.json").decode().splitlines()

    def write(shard: int) -> None:
        lines = []
        for line in template:
            action: dict[str, Any] = json.loads(line)
            if "txn" in action:
                action["txn"]["appId"] = transaction_id(plan.job_id, shard)
            if "add" in action:
                stats = json.loads(action["add"]["stats"])
                for bound in ("minValues", "maxValues"):
                    stats[bound]["shard"] = shard
                action["add"] |= {"stats": json.dumps(stats), "path": f"part-{shard}.parquet"}
            lines.append(json.dumps(action))
        place.storage.write(f"{log}/{shard + 1:020d}.json", "\n".join(lines).encode())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(1, CHECKPOINT + 1)))
        table.open().create_checkpoint()
        list(pool.map(write, range(CHECKPOINT + 1, SHARDS)))


@pytest.mark.slow
def test_ten_thousand_shards_are_listed(place: Place) -> None:
    plan = plan_of(place, rows=SHARDS, shard_rows=1)
    commits(place, plan)
    table = ResultsTable(place.uri, place.storage)
    took = {}
    for name, asked in (("append", plan), ("upsert", replace(plan, mode="upsert"))):
        started = time.perf_counter()
        assert table.committed(asked) == set(range(SHARDS))
        took[name] = time.perf_counter() - started
    started = time.perf_counter()
    feed = CommitFeed(table, plan)
    assert (len(feed.shards), feed.rows) == (SHARDS, SHARDS)
    took["feed"] = time.perf_counter() - started
    where = "S3" if place.uri.startswith("s3:") else "disk"
    print(f"{SHARDS:,} shards on {where}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()))
