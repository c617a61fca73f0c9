"""A Ray cluster over hosts of its own, a store that tells which request comes from whom, and a job that runs on both."""

import contextlib
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from repaint_batch.config import JobConfig, StorageConfig
from repaint_batch.outputs.naming import read_output
from repaint_batch.outputs.status import read_status
from repaint_batch.outputs.verify import verify
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, job, picture, rows, save_tiny_prior, write_manifest
from ..restored import restore_here
from ..seaweed import S3Service
from .network import Host, Switch
from .proxy import Exchange, FaultyProxy, Refusal

ROOT = Path(__file__).parents[2]
STORE, HEAD, DRIVER, WORKERS = 1, 3, 4, (5, 6)
ROWS, SHARD_ROWS = 24, 4
LATE_S = 6.0
PHASES = {
    "starting": ("GET", r"/manifest\.parquet", False),
    "reading": ("GET", r"/pictures/", False),
    "sampling": ("PUT", r"/inflight/", True),
    "checkpointing": ("PUT", r"/inflight/", False),
    "uploading": ("PUT", r"/images/", False),
    "committing": ("PUT", r"/results/part-", False),
    "acknowledging": ("PUT", r"/results/part-", True),
    "publishing": ("PUT", r"/_delta_log/0*[1-9]\d*\.json", False),
    "listing": ("GET", r"list-type=2.*inflight|inflight.*list-type=2", False),
}
"""Request by which a phase is known: its method, what its path holds, and whether it has been performed."""
_NET = "10.77.0"
_RAY = (
    '{"health_check_period_ms": 1000, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 4, '
    '"gcs_rpc_server_reconnect_timeout_s": 15, "worker_niceness": 0}'
)
_SKEW_S = 900  # that AWS allows
SKEWED = Refusal(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")


class Cluster:
    """Ray on four hosts: head, driver, and two workers, which alone have processors to give.

    Args:
        switch: between them.
        folder: for what they say.
    """

    def __init__(self, switch: Switch, folder: Path) -> None:
        self.switch, self._folder = switch, folder
        names = {HEAD: "head", DRIVER: "driver", **{number: f"worker-{number}" for number in WORKERS}}
        self.hosts = {number: Host(name, number, switch) for number, name in names.items()}
        self.store = Host("store", STORE, switch)

    @property
    def address(self) -> str:
        """Where Ray is."""
        return f"{_NET}.{HEAD}:6379"

    def start(self) -> None:
        """Switch everything on."""
        for host in self.hosts.values():
            host.start()
        self._join(HEAD)
        self._join(DRIVER, *WORKERS)

    def stop(self) -> None:
        """Switch everything off."""
        for host in self.hosts.values():
            host.vanish()

    def restart(self, number: int, environment: dict[str, str] | None = None) -> None:
        """Switch a host off and on."""
        self.hosts[number].vanish()
        self.hosts[number].environment = environment or {}
        self.hosts[number].start()
        self._join(number)

    def mend(self) -> None:
        """Bring back whatever has ended: Ray's node on a host that was taken for dead ends itself."""
        gone = [number for number in self.hosts if not self._is_up(number)]
        if HEAD in gone:
            self.stop()
            self.start()
            return
        for number in gone:
            self.restart(number)

    def _is_up(self, number: int) -> bool:
        return subprocess.run(self.hosts[number].command("pgrep", "-x", "raylet"), capture_output=True).returncode == 0

    def _join(self, *numbers: int) -> None:
        for _ in range(3):  # on a busy machine Ray does not always come up in the time that it gives itself
            starting = {number: self._ray(number) for number in numbers}
            numbers = tuple(number for number, started in starting.items() if started.wait())
            if not numbers:
                return
        raise RuntimeError(f"Ray does not start on {numbers}:\n{(self._folder / 'ray.log').read_text()[-2000:]}")

    def _ray(self, number: int) -> subprocess.Popen[bytes]:
        host = self.hosts[number]
        role = ["--head", "--port=6379", "--include-dashboard=false", f"--system-config={_RAY}"]
        role = role if number == HEAD else [f"--address={self.address}"]
        words = [f"--node-ip-address={host.address}", f"--num-cpus={2 if number in WORKERS else 0}", "--num-gpus=0"]
        with open(self._folder / "ray.log", "ab") as log:
            ray = str(Path(sys.executable).with_name("ray"))
            return host.popen(ray, "start", *role, *words, "--object-store-memory=80000000", "--disable-usage-stats", log=log)


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        name: what the table calls it.
        begin: told of the lab and of the host whose request began the phase; must not take time.
        end: likewise; None: the network is healed, and hosts that have ended come back.
        lasts_s: how long it does; None: until the driver has ended.
        settings: of the job, beside the usual ones.
        output: in place of one on the store.
        before: done before the driver starts.
    """

    name: str
    begin: Callable[["Lab", Host], None] = lambda lab, host: None
    end: Callable[["Lab", Host], None] | None = None
    lasts_s: float | None = 8.0
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    output: str | None = None
    before: Callable[["Lab"], None] | None = None


@dataclass
class Outcome:
    """What came of a job.

    Attributes:
        rows: that are there.
        lost: that are not.
        twice: that are there again.
        failed: that are not ok.
        wrong: that have other bytes than calmly made.
        problems: that `verify` finds.
        hangs: 1 if it was not done in time.
        runs: times that the driver was started.
        seconds: from its first start to its last end.
        said: last words of drivers that ended early.
    """

    rows: int = 0
    lost: int = 0
    twice: int = 0
    failed: int = 0
    wrong: int = 0
    problems: int = 0
    hangs: int = 0
    runs: int = 0
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)

    @property
    def is_flawless(self) -> bool:
        """Whether nothing was lost, wrong, or waited for in vain."""
        return self.rows == ROWS and not any((self.lost, self.twice, self.failed, self.wrong, self.problems, self.hangs))


class Lab:
    """Jobs on a cluster, against one store.

    Args:
        cluster: where they run; it is up.
        service: the store, on loopback.
        folder: seen by all hosts.
        limit_s: a job that takes longer hangs.
    """

    def __init__(self, cluster: Cluster, service: S3Service, folder: Path, limit_s: float = 600) -> None:
        self.cluster, self._folder, self._limit_s = cluster, folder, limit_s
        service.filesystem().mkdir("hosts")
        self.behind = Place("s3://hosts/corpus", StorageConfig(endpoint_url=service.endpoint_url, region="us-east-1"))
        self._prior = save_tiny_prior(folder / "prior")
        self._proxy = FaultyProxy(service.endpoint_url, host=f"{_NET}.{STORE}", refuse=_skewed)
        self._manifest = self._stocked()
        self._wanted: dict[str, str] = {}
        self._jobs = 0

    def __enter__(self) -> "Lab":
        """Open the store, and make calmly what everything else is held against."""
        self._proxy.__enter__()
        self._wanted = self._found(self._calm())
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.__exit__()

    @property
    def proxy(self) -> FaultyProxy:
        """What stands before the store."""
        return self._proxy

    def _stocked(self) -> str:
        corpus = rows(ROWS)
        for number in range(ROWS):
            corpus[number]["image"] = {"bytes": None, "path": f"pictures/{number}.bmp"}
            self.behind.storage.write(f"{self.behind.uri}/pictures/{number}.bmp", encoded(picture(number), "BMP"))
        return write_manifest(self.behind, corpus)

    def _calm(self) -> JobConfig:
        calm = self._job(self.behind, "calm")
        restore_here(calm)
        return calm

    def _job(self, place: Place, name: str, output: str | None = None, **settings: dict[str, Any]) -> JobConfig:
        compute = {
            "shard_rows": SHARD_ROWS, "batch_windows": 4, "actors": 2, "max_attempts": 20, "checkpoint_s": 0.3,
            "address": self.cluster.address,
        }  # fmt: skip
        where = {"uri": output or f"{place.uri}/{name}", "images": "files"}
        storage = place.config.model_dump() | {"patience_s": 60.0}
        sections: dict[str, dict[str, Any]] = {
            "compute": compute,
            "output": where,
            "storage": storage,
            "sampler": {"preset": "fast"},
        }
        for section, values in settings.items():
            sections[section] = {**sections[section], **values}
        return job(place, self._manifest, self._prior, "out", **sections)

    def run(self, fault: Fault, phase: str) -> Outcome:
        """Run a job to its end, however often its driver has to be started, with a fault in one of its phases."""
        self._jobs += 1
        through = Place(self.behind.uri, StorageConfig(endpoint_url=self._proxy.url, region="us-east-1"))
        config = self._job(through, f"out-{self._jobs}", fault.output, **fault.settings)
        if fault.before:
            fault.before(self)
        outcome, started = Outcome(), time.monotonic()
        ongoing = _Ongoing(self, fault, phase)
        self._proxy.watch = ongoing.watch
        log = self._folder / f"job-{self._jobs}.log"
        try:
            while not self._driven(config, outcome, ongoing, log, started + self._limit_s):
                pass
        finally:
            self._proxy.watch = lambda exchange: False
            self._proxy.rate = 0.0
            outcome.seconds = round(time.monotonic() - started, 1)
            self.cluster.switch.heal()
            ongoing.over()
        time.sleep(LATE_S if fault.lasts_s is None else 0)  # for what comes late
        self._judge(config, outcome)
        if not ongoing.has_begun and phase != "never":
            outcome.said.append(f"nothing happened: no {phase}")
        return outcome

    def _driven(self, config: JobConfig, outcome: Outcome, ongoing: "_Ongoing", log: Path, deadline: float) -> bool:
        """Start the driver, and wait for its end; return whether the job is done, or never will be."""
        path = log.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
        outcome.runs += 1
        with open(log, "ab") as said:
            at = said.tell()
            host = self.cluster.hosts[DRIVER]
            driver = host.popen(sys.executable, "-m", "repaint_batch", "run", str(path), log=said, cwd=ROOT)
        while driver.poll() is None:
            if time.monotonic() > deadline:
                outcome.hangs = 1
                outcome.said.append(f"hangs: {_last_words(log, at)}")
                self.cluster.stop()
                self.cluster.start()
                return True
            ongoing.tick()
            time.sleep(0.1)
        if driver.returncode in (0, 3):
            return True
        outcome.said.append(f"{driver.returncode}: {_last_words(log, at)}")
        ongoing.over()
        return outcome.runs >= 6

    def _found(self, config: JobConfig) -> dict[str, str]:
        storage = self.behind.storage
        wanted = ("sample_id", "status", "output", "output_uri", "output_offset", "output_bytes", "output_sha256")
        served = {}
        for row in ResultsTable(config.output.uri, storage).rows(wanted):
            data = b"" if row["status"] == "failed" else read_output(row, config.output.uri, storage)
            served[row["sample_id"]] = f"{row['status']} {data.hex()}"
        return served

    def _judge(self, config: JobConfig, outcome: Outcome) -> None:
        storage, output = self.behind.storage, config.output.uri
        try:
            found = list(ResultsTable(output, storage).rows(("sample_id", "status")))
        except Exception as error:
            outcome.lost = ROWS
            outcome.said.append(f"no table: {error}")
            return
        ids = Counter(row["sample_id"] for row in found)
        served = self._found(config)
        outcome.rows = len(found)
        outcome.lost = max(len(self._wanted.keys() - ids.keys()), read_status(output, storage).missing)
        outcome.twice = sum(ids.values()) - len(ids) + len(ids.keys() - self._wanted.keys())
        outcome.failed = sum(row["status"] != "ok" for row in found)
        outcome.wrong = sum(served[sample] != self._wanted.get(sample) for sample in served)
        looked = verify(output, storage)
        outcome.problems = sum(looked.kinds.values())
        outcome.said += [str(problem) for problem in looked.problems[:3]]


class _Ongoing:
    """One fault over the time of one job."""

    def __init__(self, lab: Lab, fault: Fault, phase: str) -> None:
        self._lab, self._fault = lab, fault
        self._method, path, self._performed = PHASES.get(phase, ("", "never", False))
        self._path = re.compile(path)
        self.has_begun, self._is_over, self._until = False, False, float("inf")
        self._host = lab.cluster.hosts[WORKERS[0]]

    def watch(self, exchange: Exchange) -> bool:
        """See a request; it may be what the fault has waited for."""
        fits = exchange.method == self._method and exchange.performed == self._performed and self._path.search(exchange.path)
        if fits and not self.has_begun:
            self.has_begun = True
            number = int(exchange.host.rpartition(".")[2])
            self._host = self._lab.cluster.hosts.get(number, self._host)
            self._fault.begin(self._lab, self._host)
            if self._fault.lasts_s is not None:
                self._until = time.monotonic() + self._fault.lasts_s
        return False

    def tick(self) -> None:
        """End it when its time is up."""
        if time.monotonic() >= self._until:
            self.over()

    def over(self) -> None:
        """End it now, if it has begun."""
        if self._is_over or not self.has_begun:
            return
        self._is_over = True
        self._lab.cluster.switch.heal()
        if self._fault.end is not None:
            self._fault.end(self._lab, self._host)
        self._lab.cluster.mend()


def _skewed(exchange: Exchange) -> Refusal | None:
    """Refuse, as AWS does, who signs with a wrong clock."""
    if not exchange.signed_at:
        return None
    signed = datetime.strptime(exchange.signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return SKEWED if abs((datetime.now(UTC) - signed).total_seconds()) > _SKEW_S else None


def _last_words(log: Path, since: int) -> str:
    with open(log, "rb") as said:
        said.seek(since)
        lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-2:])[-400:]


@contextlib.contextmanager
def running(switch: Switch, folder: Path) -> Iterator[Cluster]:
    """Run a cluster, whose hosts have the variables of this process."""
    cluster = Cluster(switch, folder)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
