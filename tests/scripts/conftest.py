"""A Ray head with a token that takes jobs, on ports of its own, and the client that submits to it."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..seaweed import free_ports

ROOT = Path(__file__).parents[2]
_START_S = 120
_STARTS = 3
_LOG = "start.log"
STOP_WAIT_S = 120
"""Seconds that `ray job stop` gives a job here; this machine may be busy with other tests."""


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        address: of its job API.
        metrics_port: of its Prometheus endpoint.
        folder: where it keeps its logs.
        environment: what its clients need.
    """

    address: str
    metrics_port: int
    folder: str
    environment: dict[str, str]

    def ray(self, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Run Ray's command line."""
        command = [_beside("ray"), *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False
        )

    def submit(self, script: str, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """Submit a script of jobs/, as its docstring says; return what the client said and its exit code."""
        variables = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}})
        deadline = time.monotonic() + _START_S
        while True:
            done = self.ray(
                "job", "submit", f"--address={self.address}", f"--runtime-env-json={variables}", "--working-dir", str(ROOT),
                *options, "--", "python", f"jobs/{script}", "--config", str(config),
            )  # fmt: skip
            # The dashboard answers before the agent that starts jobs does.
            if "No available agent" not in done.stdout + done.stderr or time.monotonic() > deadline:
                return done


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head of two CPUs."""
    for _ in range(_STARTS):
        process, found = _start()
        if _comes_up(process, found):
            break
        _end(process, found.folder)
    else:
        raise AssertionError(f"Ray did not start in {_STARTS} tries")
    yield found
    _end(process, found.folder)


def _start() -> tuple[subprocess.Popen[bytes], Head]:
    # Every port that has a fixed default: other tests run clusters at the same time.
    gcs, dashboard, agent, client, metrics = free_ports(5)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # The jobs' command says "python": it must be this one.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_metrics_report_interval_ms": "500"}
    # Ray's socket paths must stay under 107 characters, which pytest's own folders do not.
    folder = tempfile.mkdtemp(prefix="ray-")
    process = subprocess.Popen(
        [_beside("ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}",
         "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--num-cpus=2", "--object-store-memory=160000000",
         f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}",
         "--disable-usage-stats", f"--temp-dir={folder}"],
        env=environment, stdout=open(Path(folder, _LOG), "wb"), stderr=subprocess.STDOUT, start_new_session=True,  # noqa: SIM115
    )  # fmt: skip
    return process, Head(f"http://127.0.0.1:{dashboard}", metrics, folder, environment)


def _comes_up(process: subprocess.Popen[bytes], head: Head) -> bool:
    """Wait until the head says that it runs; where a machine is busy its parts may be too slow for Ray's own patience."""
    log = Path(head.folder, _LOG)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if b"Ray runtime started" in log.read_bytes():
            return True
        time.sleep(0.3)
    return False


def _end(process: subprocess.Popen[bytes], folder: str) -> None:
    """Kill everything of a head at once: a polite end takes Ray half a minute."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _beside(command: str) -> str:
    return str(Path(sys.executable).with_name(command))
