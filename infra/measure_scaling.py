"""Measure what guides/scale.md says of plans, drivers and the results table: ``python infra/measure_scaling.py plan``.

    plan      bytes of a plan, and what a driver holds a pending shard, at 10^5 and 10^6 shards
    manifest  time and memory to open a manifest of N million rows
    tasks     bytes of the read tasks that a driver hands to Ray Data
    table     time to open a table of N parcels and to know what is pending

What commits cost is measured by ``measure_commits.py``.
"""

import argparse
import json
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from repaint_batch.config import InputConfig, JobConfig, OutputConfig
from repaint_batch.jobs.plan import Plan
from repaint_batch.manifest import ManifestFile, open_manifest
from repaint_batch.pipeline.dataset import Unit, UnitSource
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.passes import WAVE_UNITS, units_of
from repaint_batch.storage import Storage
from repaint_batch.table.committer import Committer
from repaint_batch.table.ranges import Ranges
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import Entry

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
        pending = Ranges.of((0, plan.rows)) - Ranges.of_rows(range(0, plan.rows, 2 * plan.shard_rows))
        wave = islice(units_of(plan.shard_rows, pending), WAVE_UNITS)
        units, seconds, mib = measured(partial(list, wave))
        print(f"{len(pending):>9,} rows pending in {len(pending.spans):,} ranges: a wave of {len(units):,} units {mib:.0f} MiB "
              f"in {seconds:.2f} s")  # fmt: skip


def measure_table(parcels: int) -> None:
    """Print how long a table of `parcels` parcels of 64 rows takes to open, to be asked, and to be committed to."""
    plan = plan_of(parcels, 64)
    with tempfile.TemporaryDirectory() as folder:
        table = ResultsTable(folder, Storage())
        table.create([])
        with Committer(table, plan, 1) as committer:
            begun = time.perf_counter()
            for future in [committer.submit(fabricated(plan.job_id, k)) for k in range(0, parcels, 2)]:
                future.result()
            print(f"{parcels:>9,} parcels, half of them committed in {time.perf_counter() - begun:.1f} s, "
                  f"{committer.counts.transactions} transactions")  # fmt: skip
        opened, opening, opening_mib = measured(table.open)
        begun = time.perf_counter()
        opened.create_checkpoint()
        writing = time.perf_counter() - begun
        log = os.path.join(folder, "results", "_delta_log")
        size = sum(entry.stat().st_size for entry in os.scandir(log) if "checkpoint.parquet" in entry.name)
        pending, seconds, mib = measured(lambda: Ranges.of((0, plan.rows)) - table.done(plan))
        assert len(pending) == plan.rows // 2
        print(f"    checkpoint {size / 2**20:.1f} MiB written in {writing:.2f} s; deltalake opens the table in {opening:.2f} s, "
              f"+{opening_mib:.0f} MiB; {len(pending):,} pending rows known in {seconds:.2f} s, +{mib:.0f} MiB")  # fmt: skip


def fabricated(job_id: str, parcel: int) -> Entry:
    """Return the entry of a parcel's object that nobody has put there."""
    first = {"job_id": job_id, "status": "ok", "row": parcel * 64, "sample_id": f"picture-{parcel * 64:012d}"}
    last = first | {"row": parcel * 64 + 63, "sample_id": f"picture-{parcel * 64 + 63:012d}"}
    stats = {"numRecords": 64, "minValues": first, "maxValues": last, "nullCount": dict.fromkeys(first, 0)}
    path = f"part-{parcel * 64:010d}-0123456789ab-{parcel:016x}.parquet"
    now = time.time_ns() // 10**6
    return Entry(job_id, "0123456789ab", parcel * 64, parcel * 64 + 64, path, 40_000, now, json.dumps(stats), 0, 0, 0)


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

    ray.init("local", num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, logging_level="ERROR")
    for shards, shard_rows in ((10**5, 64), (10**6, 64), (10**6, 1000)):
        plan = plan_of(shards, shard_rows)
        job = Job(plan, "s3://corpus/restored", (), 256)
        (task,) = UnitSource(job, [Unit(*plan.shard_range(7))], None).get_read_tasks(1)
        size, shared = len(cloudpickle.dumps(task)), len(cloudpickle.dumps(job))
        print(f"{shards:>9,} shards of {shard_rows:>4}: {size:,} B a read task, {size * WAVE_UNITS / 2**20:.1f} MiB for a wave "
              f"of {WAVE_UNITS:,}; shared by all: {shared:,} B")  # fmt: skip
    ray.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("plan")
    commands.add_parser("tasks")
    of_manifest = commands.add_parser("manifest")
    of_manifest.add_argument("millions", type=int)
    of_table = commands.add_parser("table")
    of_table.add_argument("parcels", type=int, nargs="+")
    chosen = parser.parse_args()
    if chosen.what == "plan":
        measure_plan()
    elif chosen.what == "tasks":
        measure_tasks()
    elif chosen.what == "manifest":
        measure_manifest(chosen.millions)
    else:
        for number in chosen.parcels:
            measure_table(number)
