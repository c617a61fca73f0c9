"""Drivers killed with SIGKILL, and jobs submitted to a Ray head that the test starts."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from repaint_batch.config import JobConfig
from repaint_batch.results.status import read_status
from repaint_batch.results.table import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..seaweed import free_ports

ROOT = Path(__file__).parents[2]
PICTURES = 200


def write_config(config: JobConfig, path: Path) -> Path:
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return path


def start_driver(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "repaint_batch", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )


def rows_in(config: JobConfig, place: Place) -> int:
    table = ResultsTable(config.output.uri, place.storage)
    return sum(table.counts().values()) if table.exists() else 0


def kill_when_rows_reach(count: int, driver: subprocess.Popen[bytes], config: JobConfig, place: Place, log: Path) -> int:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and driver.poll() is None:
        if rows_in(config, place) >= count:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
            return rows_in(config, place)
        time.sleep(0.2)
    raise AssertionError(f"the driver ended before it could be killed:\n{log.read_text()[-3000:]}")


def test_driver_killed_twice_loses_and_doubles_nothing(s3_place: Place, tiny_prior: str, tmp_path: Path) -> None:
    manifest = write_manifest(s3_place, rows(PICTURES))
    compute = {"shard_rows": 8, "actors": 1, "batch_windows": 8}
    config = job(s3_place, manifest, tiny_prior, "killed", compute=compute)
    log = tmp_path / "driver.log"
    path = write_config(config, tmp_path / "job.yaml")

    first = kill_when_rows_reach(1, start_driver(["run", str(path)], log), config, s3_place, log)
    endpoint = ["--endpoint-url", str(s3_place.config.endpoint_url)]
    resume = ["resume", config.output.uri, *endpoint]
    second = kill_when_rows_reach(first + 9, start_driver(resume, log), config, s3_place, log)
    assert 0 < first < second < PICTURES
    assert read_status(config.output.uri, s3_place.storage).missing == PICTURES - second

    assert start_driver(resume, log).wait(timeout=400) == 0, log.read_text()[-3000:]
    whole = job(s3_place, manifest, tiny_prior, "whole", compute=compute)
    path = write_config(whole, tmp_path / "whole.yaml")
    assert start_driver(["run", str(path)], log).wait(timeout=400) == 0, log.read_text()[-3000:]

    found = [list(ResultsTable(c.output.uri, s3_place.storage).rows(("sample_id", "output"))) for c in (config, whole)]
    assert [row["sample_id"] for row in found[0]] == [f"picture-{number:04d}" for number in range(PICTURES)]
    assert found[0] == found[1], "images differ from those of an uninterrupted run"
    status = start_driver(["status", config.output.uri, *endpoint], log)
    assert status.wait(timeout=60) == 0


def test_ray_job_submit(local_place: Place, tiny_prior: str, tmp_path: Path) -> None:
    corpus = rows(6)
    corpus[5]["image"] = {"bytes": b"broken", "path": None}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior)
    path = write_config(config, tmp_path / "job.yaml")
    # Every port that has a fixed default: other tests run clusters at the same time.
    ports = free_ports(4)
    ray = str(Path(sys.executable).with_name("ray"))
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # The job's command says "python": it must be this one.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={ports[0]}",
         "--dashboard-host=127.0.0.1", f"--dashboard-port={ports[1]}", "--num-cpus=2", "--object-store-memory=160000000",
         f"--dashboard-agent-listen-port={ports[2]}", f"--ray-client-server-port={ports[3]}",
         "--disable-usage-stats", f"--temp-dir={short_folder()}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_port(ports[1])
        # Only what a user would send; tests and caches stay behind.
        command = [ray, "job", "submit", f"--address=http://127.0.0.1:{ports[1]}", "--working-dir", str(ROOT), "--",
                   "python", "jobs/restore_dataset.py", "--config", str(path)]  # fmt: skip
        deadline, output = time.monotonic() + 120, "No available agent"
        # The dashboard answers before the agent that starts jobs does.
        while "No available agent" in output and time.monotonic() < deadline:
            submitted = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, cwd=ROOT)
            output = submitted.stdout + submitted.stderr
        # 3, "finished with failed rows", reaches the scheduler as a failed job that says why.
        assert "5 ok, 0 skipped, 1 failed" in output, output[-3000:]
        assert submitted.returncode != 0
        assert "exit code 3" in output, output[-3000:]
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(timeout=60)
    assert read_status(config.output.uri, local_place.storage).exit_code == 3


def short_folder() -> str:
    # Ray's socket paths must stay under 107 characters, which pytest's own folders do not.
    return tempfile.mkdtemp(prefix="ray-")


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    raise AssertionError(f"nothing listens on port {port}")
