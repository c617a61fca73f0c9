"""Measure what SCALING.md says of plans, drivers and the results table: ``python infra/measure_scaling.py plan``.

    plan      bytes of a plan, and what a driver holds a pending shard, at 10^5 and 10^6 shards
    manifest  time and memory to open a manifest of N million rows
    tasks     bytes of the read tasks that a driver hands to Ray Data
    table     time to open a table of N shards and to ask it what is committed
    commits   commits a second into one table from several processes

`commits` takes a folder or an s3:// prefix (AWS_ENDPOINT_URL and credentials from the environment).
"""

import argparse
import json
import multiprocessing
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, Transaction
from deltalake.transaction import AddAction

from repaint_batch.config import InputConfig, JobConfig, OutputConfig
from repaint_batch.manifest import ManifestFile, open_manifest
from repaint_batch.results.attempts import Unit
from repaint_batch.results.plan import Plan
from repaint_batch.results.table import ResultsTable, transaction_id
from repaint_batch.schema import RESULTS
from repaint_batch.storage import Storage

_FILE_ROWS = 1_000_000


def plan_of(shards: int, shard_rows: int) -> Plan:
    """Return a plan over files of a million rows each."""
    rows = shards * shard_rows
    files = tuple(
        ManifestFile(f"s3://corpus/manifests/2026-11-22/part-{k:06d}.parquet", _FILE_ROWS, f"{k:064x}")
        for k in range(-(-rows // _FILE_ROWS))
    )
    config = JobConfig(input=InputConfig(manifest="s3://corpus/manifests"), output=OutputConfig(uri="s3://corpus/restored"))
    return Plan(
        "0123456789abcdef", datetime.now(UTC).isoformat(timespec="seconds"), files, "s3://corpus/manifests", rows, shard_rows,
        "append", "0123456789abcdef", {}, None, config.model_dump(mode="json"),
    )  # fmt: skip


def measured(make: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what `make` makes, its seconds, and the MiB by which the process has grown."""
    before, begun = _resident_bytes(), time.perf_counter()
    made = make()
    return made, time.perf_counter() - begun, (_resident_bytes() - before) / 2**20


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_plan() -> None:
    """Print the size of plans, of pending sets and of lists of units."""
    for shards in (10**5, 10**6):
        for shard_rows in (64, 1000):
            plan = plan_of(shards, shard_rows)
            written, pickled = len(json.dumps(asdict(plan))), len(pickle.dumps(plan))
            print(f"{shards:>9,} shards of {shard_rows:>4}: {len(plan.files):>5} manifest files, "
                  f"plan.json {written:>9,} B, pickled {pickled:>9,} B")  # fmt: skip
        pending, set_s, set_mib = measured(partial(set, range(plan.shards)))
        units, unit_s, unit_mib = measured(partial(units_of, plan, pending))
        print(f"{len(units):>9,} pending: set {set_mib:.0f} MiB in {set_s:.2f} s, units {unit_mib:.0f} MiB in {unit_s:.2f} s")
        del pending, units


def units_of(plan: Plan, pending: set[int]) -> list[Unit]:
    """Return what a driver hands to a pass."""
    return [Unit.whole(plan, shard) for shard in sorted(pending)]


def shard_rows_table(plan: Plan, shard: int, rows: int) -> pa.Table:
    """Return a shard's results as `images: files` makes them: URIs and facts, no bytes."""
    columns: dict[str, list[Any]] = {field.name: [None] * rows for field in RESULTS}
    columns |= {
        "sample_id": [f"picture-{shard:010d}-{row:04d}" for row in range(rows)],
        "status": ["ok"] * rows,
        "job_id": [plan.job_id] * rows,
        "shard": [shard] * rows,
        "attempt": ["0123456789ab"] * rows,
        "nfe": [100] * rows,
    }
    return pa.table(columns, schema=RESULTS)


def _commit_some(uri: str, plan: Plan, shards: range) -> list[float]:
    table, took = ResultsTable(uri, Storage()), []
    for shard in shards:
        begun = time.perf_counter()
        table.commit(plan, shard, shard_rows_table(plan, shard, plan.shard_rows))
        took.append(time.perf_counter() - begun)
    return took


def measure_commits(base: str, writers: int, commits: int) -> None:
    """Print commits a second of `writers` processes into one new table."""
    uri, plan = f"{base}/commits-{writers}-{time.time_ns()}", plan_of(10**6, 64)
    ResultsTable(uri, Storage()).create([])
    each = commits // writers
    with multiprocessing.get_context("spawn").Pool(writers) as pool:
        pool.map(len, [range(1)] * writers)  # processes are up before the clock starts
        begun = time.perf_counter()
        took = pool.starmap(_commit_some, [(uri, plan, range(k * each, (k + 1) * each)) for k in range(writers)])
        seconds = time.perf_counter() - begun
    every = sorted(s for one in took for s in one)
    print(f"{writers:>2} writers, {len(every)} commits: {len(every) / seconds:.1f}/s, median {every[len(every) // 2]:.3f} s, "
          f"slowest {every[-1]:.3f} s; version {ResultsTable(uri, Storage()).open().version()}")  # fmt: skip


def measure_table(shards: int) -> None:
    """Print how long a table of `shards` commits takes to open and to be asked."""
    plan = plan_of(shards, 64)
    with tempfile.TemporaryDirectory() as folder:
        table = ResultsTable(folder, Storage())
        table.create([])
        now = time.time_ns() // 10**6
        bounds = [{"job_id": plan.job_id, "shard": k, "sample_id": f"picture-{k}", "status": "ok"} for k in range(shards)]
        adds = [
            AddAction(f"part-{k:010d}.parquet", 40_000, {}, now, True,
                      json.dumps({"numRecords": 64, "minValues": low, "maxValues": low, "nullCount": dict.fromkeys(low, 0)}))
            for k, low in enumerate(bounds)
        ]  # fmt: skip
        known = [Transaction(transaction_id(plan.job_id, k), 1) for k in range(shards)]
        opened = table.open()
        opened.create_write_transaction(
            adds, mode="append", schema=opened.schema(), commit_properties=CommitProperties(app_transactions=known)
        )
        opened.update_incremental()
        opened.create_checkpoint()
        log = os.path.join(folder, "results", "_delta_log")
        size = sum(entry.stat().st_size for entry in os.scandir(log) if "checkpoint.parquet" in entry.name)
        begun = time.perf_counter()
        again = table.open()
        opening = time.perf_counter() - begun
        begun = time.perf_counter()
        held = again.transaction_version(transaction_id(plan.job_id, shards // 2))
        asking = time.perf_counter() - begun
        done, seconds, mib = measured(lambda: table.committed(plan))
        assert held == 1
        assert len(done) == shards
        print(f"{shards:>9,} shards: checkpoint {size / 2**20:.1f} MiB, open {opening:.2f} s, one transaction {asking:.3f} s, "
              f"committed() {seconds:.2f} s growing the process by {mib:.0f} MiB")  # fmt: skip


def measure_manifest(millions: int) -> None:
    """Print what it takes to open a manifest: all its ids are read, and must differ."""
    with tempfile.TemporaryDirectory() as folder:
        for k in range(millions):
            ids = pa.array([f"pictures/{k:04d}/{row:012d}.jpg" for row in range(_FILE_ROWS)])
            rows = pa.table({"sample_id": ids, "image": ids, "mask": ids})
            pq.write_table(rows, f"{folder}/part-{k:06d}.parquet", compression="zstd", row_group_size=2**16)
            del ids, rows
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
        manifest, seconds, _ = measured(lambda: open_manifest(folder, Storage()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{manifest.rows:,} rows in {len(manifest.files)} files of {size / 2**20 / millions:.0f} MiB: "
              f"opened in {seconds:.1f} s, peak {peak:.0f} MiB")  # fmt: skip


def measure_tasks() -> None:
    """Print the size of a pickled read task, of which a driver makes one for each shard of a wave."""
    import ray
    from ray import cloudpickle

    from repaint_batch.pipeline.dataset import ShardSource
    from repaint_batch.pipeline.passes import WAVE_SHARDS
    from repaint_batch.pipeline.stages import Job

    ray.init("local", num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, logging_level="ERROR")
    for shards, shard_rows in ((10**5, 64), (10**6, 64), (10**6, 1000)):
        plan = plan_of(shards, shard_rows)
        (task,) = ShardSource(Job(plan, "s3://corpus/restored", (), 256), [Unit.whole(plan, 7)]).get_read_tasks(1)
        size = len(cloudpickle.dumps(task))
        shared = len(cloudpickle.dumps(Job(plan, "s3://corpus/restored", (), 256)))
        print(f"{shards:>9,} shards of {shard_rows:>4}: {size:,} B a read task, {size * WAVE_SHARDS / 2**20:.1f} MiB for a wave "
              f"of {WAVE_SHARDS:,}; shared by all: {shared:,} B")  # fmt: skip
    ray.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("plan")
    commands.add_parser("tasks")
    of_manifest = commands.add_parser("manifest")
    of_manifest.add_argument("millions", type=int)
    of_table = commands.add_parser("table")
    of_table.add_argument("shards", type=int, nargs="+")
    of_commits = commands.add_parser("commits")
    of_commits.add_argument("uri")
    of_commits.add_argument("--writers", type=int, nargs="+", default=[1, 2, 4, 8])
    of_commits.add_argument("--commits", type=int, default=200)
    chosen = parser.parse_args()
    if chosen.what == "plan":
        measure_plan()
    elif chosen.what == "tasks":
        measure_tasks()
    elif chosen.what == "manifest":
        measure_manifest(chosen.millions)
    elif chosen.what == "table":
        for number in chosen.shards:
            measure_table(number)
    else:
        for number in chosen.writers:
            measure_commits(chosen.uri, number, chosen.commits)
