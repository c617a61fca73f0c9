"""What a commit costs: writers that publish parcels into one table, at the same time.

    python infra/measure_commits.py FOLDER                              parcels a second, on disk
    python infra/measure_commits.py s3://BUCKET/PREFIX --before 4813193 on S3, against an earlier commit of this repository
    python infra/measure_commits.py --seaweed --before 4813193          the same, on an S3 service that is started for it
    python infra/measure_commits.py --seaweed --requests                requests to the store a transaction takes

A parcel is 16 rows of results as ``output.images: files`` makes them. Every writer is a process that stages a parcel, waits until
it is durable, and goes on to the next. Before and after take turns, so that both meet the same machine.
"""

import argparse
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

ROOT = Path(__file__).parents[1]
sys.path[:0] = [os.environ.get("REPAINT_BATCH", str(ROOT))]

from repaint_batch.config import JobConfig, StorageConfig  # noqa: E402
from repaint_batch.jobs.plan import Plan, make_plan  # noqa: E402
from repaint_batch.manifest import Manifest, ManifestFile  # noqa: E402
from repaint_batch.schema import RESULTS  # noqa: E402
from repaint_batch.storage import Storage  # noqa: E402
from repaint_batch.table.results import ResultsTable  # noqa: E402

PARCEL_ROWS = 16


def plan_of(parcels: int) -> Plan:
    """Return the plan of a job of so many parcels, each of them a shard."""
    values = {"input": {"manifest": "m.parquet"}, "output": {"uri": "out"}, "compute": {"shard_rows": PARCEL_ROWS}}
    files = (ManifestFile("m.parquet", parcels * PARCEL_ROWS, "0" * 64),)
    return make_plan(JobConfig.model_validate(values), Manifest("", files, pa.schema([]), "0"), "prior", {"sampler": "x"})


def parcel_rows(plan: Plan, parcel: int) -> pa.Table:
    """Return a parcel's results: URIs and facts, no bytes."""
    numbers = list(range(*plan.shard_range(parcel)))
    columns: dict[str, list[Any]] = {field.name: [None] * len(numbers) for field in RESULTS}
    columns |= {
        "sample_id": [f"pictures/{row:010d}.jpg" for row in numbers],
        "status": ["ok"] * len(numbers),
        "image_uri": [f"s3://corpus/pictures/{row:010d}.jpg" for row in numbers],
        "output_uri": [f"s3://corpus/restored/images/{row:010d}~0123456789abcdef.jpg" for row in numbers],
        "output_sha256": [f"{row:064x}" for row in numbers],
        "job_id": [plan.job_id] * len(numbers),
        "shard": [parcel] * len(numbers),
        "attempt": ["0123456789ab"] * len(numbers),
        "nfe": [100] * len(numbers),
    }
    if "row" in RESULTS.names:
        columns["row"] = numbers
    return pa.table(columns, schema=RESULTS)


def publish_alone(uri: str, plan: Plan, parcels: range) -> list[float]:
    """Publish parcels one by one, each in a commit of its own; return the seconds that each took."""
    table: Any = ResultsTable(uri, Storage())  # of the first edition
    took = []
    for parcel in parcels:
        begun = time.perf_counter()
        table.commit(plan, parcel, parcel_rows(plan, parcel))
        took.append(time.perf_counter() - begun)
    return took


def _alone(uri: str, plan: Plan, parcels: range, pipe: Connection) -> None:
    pipe.send("ready")
    pipe.recv()
    pipe.send(publish_alone(uri, plan, parcels))


def _staging(uri: str, plan: Plan, parcels: range, pipe: Connection) -> None:
    from repaint_batch.table.staging import stage

    table, took = ResultsTable(uri, Storage()), []
    table.storage.exists(table.uri)
    pipe.send("ready")
    pipe.recv()
    for parcel in parcels:
        begun = time.perf_counter()
        pipe.send(stage(table, plan, parcel_rows(plan, parcel), "0123456789ab"))
        pipe.recv()
        took.append(time.perf_counter() - begun)
    pipe.send(took)


def measure(uri: str, writers: int, parcels: int) -> str:
    """Return in words how fast writers publish, in this version's way."""
    plan = plan_of(parcels)
    table = ResultsTable(uri, Storage())
    table.create([])
    grouped = "row" in RESULTS.names
    each = parcels // writers
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(writers)]
    processes = [
        context.Process(
            target=_staging if grouped else _alone, args=(uri, plan, range(k * each, (k + 1) * each), pipe[1]), daemon=True
        )
        for k, pipe in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    ends = [pipe[0] for pipe in pipes]
    for end in ends:
        end.recv()
    took: list[float] = []
    with contextlib.ExitStack() as stack:
        committer: Any = None
        if grouped:
            from repaint_batch.table.committer import Committer

            committer = stack.enter_context(Committer(table, plan, 1))

        def serve(end: Connection) -> None:
            end.send("go")
            while not isinstance(got := end.recv(), list):
                end.send(committer.commit(got))
            took.extend(got)

        threads = [threading.Thread(target=serve, args=(end,)) for end in ends]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
    for process in processes:
        process.join()
    took.sort()
    versions = table.open().version()
    rows = sum(table.counts().values())
    assert rows == each * writers * PARCEL_ROWS, f"{rows} rows"
    return (f"{writers} writers, {len(took)} parcels: {len(took) / seconds:6.1f}/s, median {took[len(took) // 2]:.3f} s, slowest "
            f"{took[-1]:.3f} s; {versions} transactions, {len(took) / versions:.1f} parcels each")  # fmt: skip


def measure_requests(endpoint: str, uri: str, parcels: int) -> None:
    """Print the requests that opening, transactions and a checkpoint take, seen by a proxy in front of the store."""
    sys.path.append(str(ROOT))
    from repaint_batch.table.committer import Committer
    from repaint_batch.table.staging import stage
    from tests.chaos.proxy import Exchange, FaultyProxy

    seen: Counter[str] = Counter()

    def watch(exchange: Exchange) -> bool:
        if not exchange.performed:
            what = "data object" if "/results/part-" in exchange.path else "log"
            seen[f"{exchange.method} {'list' if 'list-type' in exchange.path else what}"] += 1
        return False

    with FaultyProxy(endpoint, watch=watch) as proxy:
        storage, plan = Storage(StorageConfig(endpoint_url=proxy.url, region="us-east-1")), plan_of(parcels)
        table = ResultsTable(uri, storage)
        table.create([])

        def told(what: str) -> None:
            print(f"{what}: {seen.total()} requests ({', '.join(f'{count} {kind}' for kind, count in seen.items())})")
            seen.clear()

        seen.clear()
        committer = Committer(table, plan, 1)
        told("open the committer")
        staged = [stage(table, plan, parcel_rows(plan, parcel), "a") for parcel in range(parcels)]
        told(f"stage {parcels} parcels")
        for entry in staged[:50]:
            committer.commit(entry)
        told("50 transactions of one parcel")
        for future in [committer.submit(entry) for entry in staged[50:90]]:
            future.result()
        told(f"{committer.counts.transactions - 50} transactions of 40 parcels together")
        for entry in staged[90:]:
            committer.commit(entry)
        committer.close()
        told(f"{parcels - 90} transactions of one parcel, and a checkpoint")


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[tuple[str, str]]:
    """Run SeaweedFS; yield its endpoint and a prefix in it."""
    sys.path.append(str(ROOT))
    from tests.seaweed import run_seaweed

    with run_seaweed(folder) as service:
        os.environ.update(service.environment() | {"AWS_ENDPOINT_URL": service.endpoint_url})
        service.filesystem().mkdir("commits")
        yield service.endpoint_url, "s3://commits"


def compare(base: str, arguments: argparse.Namespace) -> None:
    """Print the figures of an earlier commit and of this one, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        versions = {"after": str(ROOT)}
        if arguments.before:
            versions = {"before": f"{scratch}/before", **versions}
            _git("worktree", "add", "--detach", versions["before"], arguments.before)
        try:
            for _ in range(arguments.rounds):
                for name, tree in versions.items():
                    uri = f"{base}/{name}-{time.time_ns()}"
                    parcels = arguments.parcels if name == "after" else max(arguments.writers, arguments.parcels // 10)
                    command = [sys.executable, __file__, uri, "--one", f"--writers={arguments.writers}", f"--parcels={parcels}"]
                    paths = {"REPAINT_BATCH": tree, "PYTHONPATH": tree}
                    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **paths})
                    print(f"{name:>6}: {said.stdout.strip()}", flush=True)
        finally:
            if arguments.before:
                _git("worktree", "remove", "--force", versions["before"])


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri", nargs="?")
    parser.add_argument("--seaweed", action="store_true")
    parser.add_argument("--requests", action="store_true")
    parser.add_argument("--before", metavar="COMMIT")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--parcels", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(measure(arguments.uri, arguments.writers, arguments.parcels))
        return
    with contextlib.ExitStack() as stack:
        base = arguments.uri
        if arguments.seaweed:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            endpoint, base = stack.enter_context(seaweed(Path(folder)))
        if arguments.requests:
            measure_requests(endpoint, f"{base}/requests", 220)
        else:
            compare(base, arguments)


if __name__ == "__main__":
    main()
