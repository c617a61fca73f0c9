"""Measure how a job follows its cluster: ``python infra/measure_elastic.py workers 1 2 4 8`` and ``... joining 1 4``.

    workers   the same work a worker on clusters of so many simulated workers: images a second, and the share of linear
    joining   a job that begins on A workers and is joined by more, up to B, in the middle

A worker is a node of `ray.cluster_utils.Cluster` with one simulated GPU; all of them share this machine. The network is an
exact Gaussian that takes a fixed time to answer, asleep, so that this machine's processors are not what is measured: all
else, from Ray to the commits, is the real thing. Actors range from 1 to 8, whatever the cluster.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from repaint_batch.config import JobConfig  # noqa: E402
from repaint_batch.schema import IMAGE_STRUCT  # noqa: E402
from repaint_batch.storage import Storage  # noqa: E402
from tests.planting import when_imported  # noqa: E402

_NFE = 30  # of the preset
_MOST = 8
_PICTURES = ROOT / "repaint_batch" / "assets" / "emoji.parquet"
_DELAY = "MEASURE_ELASTIC_DELAY_S"


def slow_down() -> None:
    """See to it that in this process an exact prior that sleeps before it answers stands in for any other."""
    when_imported("repaint_batch.priors.loaded", _stand_in)


def _stand_in(module: Any) -> None:
    import torch

    from repaint_batch.priors.analytic import GaussianMixture

    exact = GaussianMixture.isotropic(torch.zeros(1, 3, 32, 32), 0.5)
    delay_s = float(os.environ[_DELAY])

    def answer(self: Any, x_t: torch.Tensor, t: torch.Tensor) -> Any:
        time.sleep(delay_s)
        return exact(x_t, t)

    module.LoadedPrior.__call__ = answer


def job_of(folder: str, shards: int) -> JobConfig:
    """Return a job of `shards` shards of one picture each."""
    row = pq.read_table(_PICTURES).slice(0, 1).to_pylist()[0]
    schema = pa.schema([("sample_id", pa.string()), ("image", IMAGE_STRUCT), ("mask", IMAGE_STRUCT)])
    rows = [{"sample_id": f"{k:06d}", "image": row["image"], "mask": row["mask"]} for k in range(shards)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), f"{folder}/manifest.parquet")
    return JobConfig.model_validate({
        "input": {"manifest": f"{folder}/manifest.parquet"},
        "output": {"uri": f"{folder}/out"},
        "prior": {"source": "bundled:emoji"},
        "sampler": {"preset": "draft"},
        "compute": {"shard_rows": 1, "batch_windows": 1, "actors": (1, _MOST), "num_gpus": 1, "num_cpus": 0.25},
    })  # fmt: skip


class Quiet:
    """A watcher that says nothing."""

    def update(self, rows_done: int, shards_done: int, failed: int) -> None:
        """Take the totals committed so far."""


@contextlib.contextmanager
def quiet(plan: Any, rows: int, shards: int) -> Iterator[Quiet]:
    """Make such a watcher."""
    yield Quiet()


@contextlib.contextmanager
def cluster_of(workers: int, delay_s: float) -> Iterator[Callable[[int], None]]:
    """Join a new cluster whose networks take `delay_s` an evaluation; yield what adds so many more workers to it."""
    import ray
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80 * 2**20}
    # Workers that join later are started from a thread, which may not set the signal handlers of a shutdown at exit.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory}, shutdown_at_exit=False)

    def add(count: int) -> None:
        for _ in range(count):
            cluster.add_node(num_cpus=2, num_gpus=1, **memory)

    environment = {_DELAY: str(delay_s), "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with contextlib.ExitStack() as session:
        session.callback(cluster.shutdown)
        add(workers)
        ray.init(
            address=cluster.address, log_to_driver=False, logging_level="ERROR",
            runtime_env={"worker_process_setup_hook": slow_down, "env_vars": environment},
        )  # fmt: skip
        session.callback(ray.shutdown)
        cluster.wait_for_nodes()
        yield add


def run(workers: int, shards: int, delay_s: float, join: tuple[int, float] | None = None) -> None:
    """Run a job on a new cluster and print what its commits tell, as JSON.

    Args:
        workers: nodes that are there from the beginning.
        shards: shards of the job.
        delay_s: what an evaluation takes.
        join: how many nodes there are in the end, and after how many seconds the others come.
    """
    from repaint_batch.pipeline.run import run_job
    from repaint_batch.table.results import ResultsTable

    with cluster_of(workers, delay_s) as add, ThreadPoolExecutor(1) as pool, tempfile.TemporaryDirectory() as folder:
        begun = time.time()

        def grow(most: int, after_s: float) -> float:
            time.sleep(after_s)
            add(most - workers)
            return time.time() - begun

        growing = pool.submit(grow, *(join or (workers, 0.0)))
        config = job_of(folder, shards)
        summary = run_job(config, quiet)
        seconds = time.time() - begun
        assert summary.counts["ok"] == shards
        rows = ResultsTable(config.output.uri, Storage()).rows(("finished_at", "worker"))
        told = [(row["finished_at"].timestamp() - begun, row["worker"]) for row in rows]
        print(json.dumps({"seconds": seconds, "joined": growing.result(), "shards": sorted(told)}))


def measured(*arguments: object) -> dict[str, Any]:
    """Return what `run` prints, in a process of its own."""
    command = [sys.executable, __file__, "run", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_workers(numbers: list[int], shards: int, delay_s: float) -> None:
    """Print images a second and the share of linear on clusters of so many workers."""
    print(f"{datetime.now():%Y-%m-%d %H:%M}: {shards} shards a worker, {_NFE} evaluations of {delay_s:g} s each; load of this "
          f"machine of {os.cpu_count()} processors: {os.getloadavg()[0]:.0f}")  # fmt: skip
    print("workers   shards   whole job   images/s   of linear   once all run   images/s   of linear")
    base: tuple[float, float] | None = None
    for workers in numbers:
        found = measured(workers, shards * workers, delay_s)
        count, times = shards * workers, [at for at, _ in found["shards"]]
        first: dict[str, float] = {}
        for at, worker in found["shards"]:
            first.setdefault(worker, at)
        all_run = max(first.values())  # every worker has brought home its first shard
        later = [at for at in times if at > all_run]
        steady = len(later) / (later[-1] - all_run) if later else float("nan")
        whole = count / found["seconds"]
        base = base or (whole / workers, steady / workers)
        print(f"{workers:>7}   {count:>6}   {found['seconds']:>7.1f} s   {whole:>8.3f}   {whole / base[0] / workers:>9.2f}   "
              f"{later[-1] - all_run if later else 0:>10.1f} s   {steady:>8.3f}   {steady / base[1] / workers:>9.2f}",
              flush=True)  # fmt: skip


def print_joining(begin: int, end: int, shards: int, delay_s: float, after_s: float) -> None:
    """Print images a second before and after nodes join."""
    found = measured(begin, shards, delay_s, end, after_s)
    joined, times = found["joined"], [at for at, _ in found["shards"]]
    workers = {worker for _, worker in found["shards"]}
    before = [at for at in times if at <= joined]
    last_first = max(min(at for at, name in found["shards"] if name == worker) for worker in workers)
    after = [at for at in times if at > last_first]
    slow = (len(before) - 1) / (before[-1] - before[0])
    fast = len(after) / (after[-1] - last_first)
    print(f"{begin} workers, {end} from {joined:.0f} s on: {slow:.3f} images/s before, {fast:.3f} after "
          f"({fast / slow:.2f} times), done by {len(workers)} actors in {found['seconds']:.0f} s")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    of_workers = commands.add_parser("workers")
    of_workers.add_argument("numbers", type=int, nargs="+")
    of_workers.add_argument("--shards", type=int, default=12, help="for each worker")
    of_workers.add_argument("--delay", type=float, default=0.5, help="seconds of an evaluation")
    of_joining = commands.add_parser("joining")
    of_joining.add_argument("begin", type=int)
    of_joining.add_argument("end", type=int)
    of_joining.add_argument("--shards", type=int, default=40)
    of_joining.add_argument("--delay", type=float, default=0.5)
    of_joining.add_argument("--after", type=float, default=90, help="seconds until the others join")
    of_run = commands.add_parser("run")
    of_run.add_argument("numbers", type=float, nargs="+")
    chosen = parser.parse_args()
    if chosen.what == "workers":
        print_workers(chosen.numbers, chosen.shards, chosen.delay)
    elif chosen.what == "joining":
        print_joining(chosen.begin, chosen.end, chosen.shards, chosen.delay, chosen.after)
    else:
        first, total, wait, *more = chosen.numbers
        run(int(first), int(total), wait, (int(more[0]), more[1]) if more else None)
