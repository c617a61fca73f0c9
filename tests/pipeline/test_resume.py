"""Drivers killed with SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from repaint_batch.config import JobConfig
from repaint_batch.outputs.status import read_status
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from ..restored import restore_here

ROOT = Path(__file__).parents[2]


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


@pytest.mark.slow  # a driver on S3 dies in every campaign too, and one on disk in tests/scripts
@pytest.mark.parametrize(("pictures", "kills"), [(32, 1), (200, 2)])
def test_a_killed_driver_loses_and_doubles_nothing(
    s3_place: Place, tiny_prior: str, tmp_path: Path, pictures: int, kills: int
) -> None:
    manifest = write_manifest(s3_place, rows(pictures))
    compute = {"shard_rows": 8, "actors": 1, "batch_windows": 8}
    config = job(s3_place, manifest, tiny_prior, "killed", sampler={"preset": "balanced"}, compute=compute)
    log = tmp_path / "driver.log"
    path = write_config(config, tmp_path / "job.yaml")
    endpoint = ["--endpoint-url", str(s3_place.config.endpoint_url)]
    resume = ["run", config.output.uri, *endpoint]

    done = 0
    for command in [["run", str(path)], resume][:kills]:
        before, done = done, kill_when_rows_reach(done + 1, start_driver(command, log), config, s3_place, log)
        assert before < done < pictures
    assert read_status(config.output.uri, s3_place.storage).missing == pictures - done

    assert start_driver(resume, log).wait(timeout=400) == 0, log.read_text()[-3000:]
    whole = job(s3_place, manifest, tiny_prior, "whole", sampler={"preset": "balanced"}, compute=compute)
    restore_here(whole)

    found = [list(ResultsTable(c.output.uri, s3_place.storage).rows(("sample_id", "output"))) for c in (config, whole)]
    assert [row["sample_id"] for row in found[0]] == [f"picture-{number:04d}" for number in range(pictures)]
    assert found[0] == found[1], "images differ from those of an uninterrupted run"
    status = start_driver(["status", config.output.uri, *endpoint], log)
    assert status.wait(timeout=60) == 0
