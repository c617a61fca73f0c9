"""A whole job on a cluster of two nodes, with everything going wrong: requests, workers, writers, drivers, a node.

What happens to which request is decided by the seed (see `proxy`), and so are the steps of a commit at which writers die.
Workers and actors die at random moments. ``python -m tests.chaos.campaign SEED ...`` runs seeds by hand and prints what
happened as one line of JSON each.
"""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from repaint_batch.config import JobConfig, StorageConfig
from repaint_batch.outputs.status import read_status
from repaint_batch.outputs.verify import verify
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, job, picture, rows, save_tiny_prior, write_manifest
from ..restored import restore_here
from ..seaweed import S3Service, run_seaweed
from .processes import children, kill, owner_of
from .proxy import Exchange, FaultyProxy

ROOT = Path(__file__).parents[2]
SHARDS, SHARD_ROWS = 10, 4
_OURS = re.compile(r"ray::.*(Inpainter|ReadUnitSource|Write|_look)")
_STEPS = {"data": re.compile(r"/results/part-[^/]*\.parquet"), "log": re.compile(r"/_delta_log/\d+\.json")}


@dataclass(frozen=True)
class Profile:
    """How much goes wrong in one job.

    Attributes:
        workers: kills of actors and of workers that decode or encode.
        steps: kills of writers: the step of the commit, and which time that it is come to.
        drivers: numbers of the commits after which the driver is killed.
        node_at: number of the commit after which a node is lost; None: never.
        rate: share of S3 requests that are harmed.
        limit_s: a job that takes longer hangs.
    """

    workers: int = 10
    steps: tuple[tuple[str, int], ...] = (
        ("data before", 1), ("log before", 2), ("data after", 3), ("log after", 4), ("log before", 6)
    )  # fmt: skip
    drivers: tuple[int, ...] = (2, 5)
    node_at: int | None = 3
    rate: float = 0.04
    limit_s: float = 800


@dataclass
class Figures:
    """What happened, and what came of it."""

    seed: int
    worker_kills: int = 0
    actor_kills: int = 0
    writer_kills: int = 0
    driver_kills: int = 0
    node_kills: int = 0
    s3_faults: dict[str, int] = field(default_factory=dict)
    s3_requests: int = 0
    rows: int = 0
    lost: int = 0
    twice: int = 0
    not_ok: int = 0
    wrong: int = 0
    problems: int = 0
    seconds: float = 0.0

    @property
    def is_flawless(self) -> bool:
        """Whether nothing came of it."""
        return (self.lost, self.twice, self.not_ok, self.wrong, self.problems) == (0, 0, 0, 0, 0)


class Nodes:
    """A Ray cluster of a head and one more node, which can be lost and made up for."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        resources = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
        self._resources = resources
        # A node that is gone is noticed after five seconds, one that is only slow is given fifty.
        # Workers are as nice as the tests around them.
        config = {"health_check_period_ms": 1000, "health_check_timeout_ms": 10_000, "health_check_failure_threshold": 5,
                  "worker_niceness": 0}  # fmt: skip
        self.cluster = Cluster(
            initialize_head=True, head_node_args={**resources, "include_dashboard": False, "_system_config": config}
        )
        self._second = self._another()

    def lose_one(self) -> None:
        """End every process of the second node at once, and start another node."""
        self.cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._another()

    def _another(self) -> Any:
        # Ray gives a node thirty seconds to come up, which a machine that is busy with other tests may not keep.
        for _ in range(4):
            with contextlib.suppress(Exception):
                return self.cluster.add_node(**self._resources)
        return self.cluster.add_node(**self._resources)

    def workers(self) -> dict[int, str]:
        """Return the processes that do a job's work, with their names."""
        found = children(
            info.process.pid for node in self.cluster.list_all_nodes() for info in node.all_processes.get("raylet", ())
        )
        return {pid: name for pid, name in found.items() if name.startswith("ray::")}


class Campaign:
    """One job under one seed.

    Args:
        seed: decides what happens.
        profile: how much of it.
        nodes: where the job runs.
        behind: a place on the service itself.
        proxy: stands before it.
        folder: for the prior and the driver's log.
    """

    def __init__(self, seed: int, profile: Profile, nodes: Nodes, behind: Place, proxy: FaultyProxy, folder: Path) -> None:
        self._seed, self._profile, self._nodes, self._behind, self._proxy = seed, profile, nodes, behind, proxy
        self._folder, self._chance = folder, random.Random(seed)
        self.figures = Figures(seed)
        self._steps: Counter[str] = Counter()
        self._left = list(profile.steps)
        self._commits = 0
        self._over = threading.Event()
        self._log = folder / f"driver-{seed}.log"

    def run(self) -> Figures:
        """Run the job to its end, and look at what came of it."""
        self._started = started = time.monotonic()
        through = Place(self._behind.uri, StorageConfig(endpoint_url=self._proxy.url, region="us-east-1"))
        config = self._job(through)
        self._proxy.watch, self._proxy.rate = self._watch, self._profile.rate
        killing = threading.Thread(target=self._kill_workers, daemon=True)
        killing.start()
        try:
            with contextlib.ExitStack() as self._stack:
                self._drive(config, started + self._profile.limit_s)
        finally:
            self._over.set()
            killing.join()
            self._proxy.rate, self._proxy.watch = 0.0, lambda exchange: False
        self.figures.s3_faults = {str(kind): count for kind, count in sorted(self._proxy.faults.items())}
        self.figures.seconds = round(time.monotonic() - started, 1)
        self._judge(config)
        return self.figures

    def _job(self, place: Place) -> JobConfig:
        corpus = rows(SHARDS * SHARD_ROWS)
        for number in range(0, len(corpus), 2):  # every other picture is an object of its own
            corpus[number]["image"] = {"bytes": None, "path": f"pictures/{number}.bmp"}
            self._behind.storage.write(f"{place.uri}/pictures/{number}.bmp", encoded(picture(number), "BMP"))
        manifest = write_manifest(self._behind, corpus)
        compute = {
            "shard_rows": SHARD_ROWS, "batch_windows": 4, "actors": 2, "max_attempts": 20, "checkpoint_s": 1,
            "address": self._nodes.cluster.address,
        }  # fmt: skip
        return job(place, manifest, save_tiny_prior(self._folder / f"prior-{self._seed}"), compute=compute)

    def _drive(self, config: JobConfig, deadline: float) -> None:
        path = self._folder / f"job-{self._seed}.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
        kills, node_at = list(self._profile.drivers), self._profile.node_at
        while True:
            driver = self._start(path)
            self._tell("a driver starts")
            self._stack.callback(driver.kill)
            while driver.poll() is None:
                if time.monotonic() > deadline:
                    kill(driver.pid)
                    raise AssertionError(f"seed {self._seed} hangs: {self.figures}\n{self._said()}")
                if node_at is not None and self._commits >= node_at:
                    node_at = None
                    self._tell("a node is lost")
                    self._nodes.lose_one()
                    self.figures.node_kills += 1
                if kills and self._commits >= kills[0]:
                    kills.pop(0)
                    self._tell("the driver is killed")
                    self.figures.driver_kills += kill(driver.pid)
                time.sleep(0.1)
            if driver.returncode == 0:
                self._tell("the job is done")
                return
            assert driver.returncode == -9, f"seed {self._seed}: the driver ended with {driver.returncode}:\n{self._said()}"

    def _start(self, path: Path) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "repaint_batch", "run", str(path)],
                stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
            )  # fmt: skip

    def _tell(self, what: str) -> None:
        print(f"{time.monotonic() - self._started:7.1f} s, {self._commits} commits: {what}", flush=True)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]

    def _watch(self, exchange: Exchange) -> bool:
        self.figures.s3_requests += not exchange.performed
        if exchange.method not in ("PUT", "POST"):
            return False
        kind = next((kind for kind, pattern in _STEPS.items() if pattern.search(exchange.path)), None)
        if kind is None:
            return False
        writer = owner_of(exchange.port, int(self._proxy.url.rpartition(":")[2]), self._nodes.workers())
        if writer is None:
            return False  # the driver, which makes the table
        step = f"{kind} {'after' if exchange.performed else 'before'}"
        self._steps[step] += 1
        self._commits += step == "log after"
        due = next((left for left in self._left if left[0] == step and left[1] <= self._steps[step]), None)
        if due is None or not kill(writer):
            return False
        self._tell(f"a writer is killed, {step}")
        self._left.remove(due)
        self.figures.writer_kills += 1
        return True

    def _kill_workers(self) -> None:
        for _ in range(self._profile.workers):
            if self._over.wait(self._chance.uniform(0.5, 2.5)):
                return
            while not (found := {pid: name for pid, name in self._nodes.workers().items() if _OURS.match(name)}):
                if self._over.wait(0.1):
                    return
            pid = self._chance.choice(sorted(found))
            if kill(pid):
                self._tell(f"{found[pid]} is killed")
                is_actor = "MapWorker" in found[pid]
                self.figures.actor_kills += is_actor
                self.figures.worker_kills += not is_actor

    def _judge(self, config: JobConfig) -> None:
        storage, figures = self._behind.storage, self.figures
        calm = config.model_copy(update={
            "output": config.output.model_copy(update={"uri": f"{self._behind.uri}/calm"}), "storage": self._behind.config,
        })  # fmt: skip
        restore_here(calm)
        wanted = {row["sample_id"]: row["output"] for row in _rows(calm, storage)}
        found = list(_rows(config, storage))
        ids = Counter(row["sample_id"] for row in found)
        figures.rows = len(found)
        figures.lost = len(wanted.keys() - ids.keys()) + read_status(config.output.uri, storage).missing
        figures.twice = sum(times - 1 for times in ids.values()) + len(ids.keys() - wanted.keys())
        figures.not_ok = sum(row["status"] != "ok" for row in found)
        figures.wrong = sum(row["output"] != wanted.get(row["sample_id"]) for row in found)
        looked = verify(config.output.uri, storage)
        figures.problems = sum(looked.kinds.values())
        if not figures.is_flawless:
            print(figures, looked.problems[:5], [row for row in found if row["status"] != "ok"][:5], self._said(), sep="\n")


def _rows(config: JobConfig, storage: Any) -> Iterator[dict[str, Any]]:
    return ResultsTable(config.output.uri, storage).rows(("sample_id", "status", "error_class", "reason", "output"))


def run_campaign(seed: int, profile: Profile, nodes: Nodes, service: S3Service, folder: Path) -> Figures:
    """Run one seed in a bucket of its own."""
    bucket = f"chaos-{seed}-{os.getpid()}"
    service.filesystem().mkdir(bucket)
    behind = Place(f"s3://{bucket}/corpus", StorageConfig(endpoint_url=service.endpoint_url, region="us-east-1"))
    print(f"chaos: seed {seed}", flush=True)
    with FaultyProxy(service.endpoint_url, seed=seed, hang_one_in=50) as proxy:
        figures = Campaign(seed, profile, nodes, behind, proxy, folder).run()
    print(json.dumps(asdict(figures)), flush=True)
    return figures


def long_profile(seed: int) -> Profile:
    """Return one of the twenty jobs of the long profile; every fourth loses a node."""
    steps = ("data before", "data after", "log before", "log after")
    return replace(
        Profile(), workers=4, steps=((steps[seed % 4], 2), (steps[(seed + 2) % 4], 4)), drivers=(3,),
        node_at=5 if seed % 4 == 0 else None,
    )  # fmt: skip


def main(seeds: list[int]) -> None:
    """Run the jobs of the long profile with these seeds on one cluster."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        service = stack.enter_context(run_seaweed(folder))
        os.environ.update(service.environment())
        nodes = Nodes()
        stack.callback(nodes.cluster.shutdown)
        for seed in seeds:
            assert run_campaign(seed, long_profile(seed), nodes, service, folder).is_flawless


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]])
