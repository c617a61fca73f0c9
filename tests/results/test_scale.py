"""What is done of a job of ten thousand shards, found out again; how long it takes is printed."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repaint_batch.results.plan import Plan
from repaint_batch.results.table import CommitFeed, ResultsTable, transaction_id

from ..conftest import Place
from .test_table import made, plan_of, shard_rows

SHARDS, CHECKPOINT, KEPT_FROM = 10_000, 9_900, 9_000
"""As a job would leave it: checkpoints every hundred commits, of which the last one counts."""


def commits(place: Place, plan: Plan) -> None:
    """Write the log of a job of many commits, each a copy of a real one under another shard's name."""
    table = made(place)
    assert table.commit(plan, 0, shard_rows(plan, 0))
    log = Path(table.uri, "_delta_log")
    template = (log / f"{1:020d}.json").read_text().splitlines()

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
        (log / f"{shard + 1:020d}.json").write_text("\n".join(lines))

    for shard in range(1, CHECKPOINT + 1):
        write(shard)
    table.open().create_checkpoint()
    for shard in range(CHECKPOINT + 1, SHARDS):
        write(shard)


def copied(source: Place, target: Place) -> None:
    """Copy a log from disk, but for entries that a checkpoint has taken in and which have expired."""
    log = Path(ResultsTable(source.uri, source.storage).uri, "_delta_log")
    kept = [path for path in log.iterdir() if path.suffix != ".json" or not path.stem.isdigit() or int(path.stem) > KEPT_FROM]
    uri = f"{ResultsTable(target.uri, target.storage).uri}/_delta_log"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: target.storage.write(f"{uri}/{path.name}", path.read_bytes()), kept))


@pytest.mark.slow
def test_ten_thousand_shards_are_listed(local_place: Place, s3_place: Place) -> None:
    plan = plan_of(local_place, rows=SHARDS, shard_rows=1)
    commits(local_place, plan)
    copied(local_place, s3_place)
    for where, place in (("disk", local_place), ("S3", s3_place)):
        table, took = ResultsTable(place.uri, place.storage), {}
        for name, asked in (("append", plan), ("upsert", replace(plan, mode="upsert"))):
            started = time.perf_counter()
            assert table.committed(asked) == set(range(SHARDS))
            took[name] = time.perf_counter() - started
        started = time.perf_counter()
        feed = CommitFeed(table, plan)
        assert (len(feed.shards), feed.rows) == (SHARDS, SHARDS)
        took["feed"] = time.perf_counter() - started
        print(f"{SHARDS:,} shards on {where}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()))
