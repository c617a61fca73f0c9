"""The scripts of jobs/, submitted with `ray job submit`: killed, stopped, watched, and what the scheduler is told."""

import json
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from repaint_batch.jobs.lease import NIGHT_LEASE, Generation, Lease
from repaint_batch.jobs.plan import load_plans
from repaint_batch.outputs.status import read_status
from repaint_batch.outputs.verify import verify
from repaint_batch.pipeline.telemetry import COUNTERS, GAUGES, PLANNED
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, job, picture, rows, write_manifest
from .conftest import ROOT, Head

_PATIENCE_S = 240


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def wait_until(happens: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if found := happens():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} never happened")


def newest(output: str, job_id: str, place: Place) -> Generation:
    found = Lease(output, job_id, place.storage).newest()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """Names of metrics that the endpoint has shown; gauges go with the process that set them."""
    return set()


def scraped(head: Head) -> dict[str, float]:
    """Return the samples on the head's Prometheus endpoint by name, summed over their labels."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{head.metrics_port}/metrics", timeout=10).read().decode()
    samples = Counter[str]()
    for line in text.splitlines():
        if found := re.match(r"([a-zA-Z_:]\w*)(?:\{.*\})? ([-+.\dEeinfNa]+)$", line):
            samples[found[1]] += float(found[2])
    return samples


def test_a_killed_driver_then_resume_failed(head: Head, local_place: Place, tiny_prior: str, tmp_path: Path) -> None:
    corpus = rows(8)
    corpus[5]["image"] = {"bytes": b"broken", "path": None}
    compute = {"shard_rows": 2, "batch_windows": 2, "actors": 1, "log": "json"}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, sampler={"preset": "balanced"}, compute=compute)
    output, table = config.output.uri, ResultsTable(config.output.uri, local_place.storage)
    path = write(tmp_path / "job.yaml", config.model_dump(mode="json", exclude_none=True))

    assert head.submit("restore_dataset.py", path, "--no-wait", "--submission-id=to-be-killed").returncode == 0
    wait_until(lambda: table.exists() and sum(table.counts().values()), "the first commit")
    plan = load_plans(output, local_place.storage)[0]
    os.kill(newest(output, plan.job_id, local_place).holder.pid, signal.SIGKILL)
    assert 0 < len(table.committed(plan)) < plan.shards, "it was killed on the way"
    told = wait_until(lambda: (said := status_of(head, "to-be-killed")) != "RUNNING" and said, "the end of the job")
    assert told == "FAILED"

    resume = write(tmp_path / "resume.yaml", {"output": output})
    done = head.submit("resume_failed.py", resume)
    said = done.stdout + done.stderr
    # 3, "finished with failed rows", reaches the scheduler as a failed job that says why.
    assert "7 ok, 0 skipped, 1 failed" in said, said[-3000:]
    assert done.returncode != 0
    assert "exit code 3" in said, said[-3000:]
    status = read_status(output, local_place.storage)
    assert (status.ok, status.failed, status.missing, status.exit_code) == (7, 1, 0, 3)
    committed = sum(entry["rows"] for entry in table.open().history() if entry.get("job_id") == plan.job_id)
    assert committed == plan.rows, "no row was committed twice"
    assert [row["sample_id"] for row in table.rows(("sample_id",))] == [row["sample_id"] for row in corpus]
    assert verify(output, local_place.storage).exit_code == 0
    lines = json_lines(head, plan.job_id)
    parcels = {line["row"]: line["rows"] for line in lines if line["message"] == "parcel committed"}
    assert sum(parcels.values()) == plan.rows, "each is told once"
    assert {line["sample_id"] for line in lines if line["message"] == "row failed"} == {"picture-0005"}


def status_of(head: Head, submission: str) -> str:
    said = head.ray("job", "status", f"--address={head.address}", submission).stdout + " "
    found = re.search(r"(PENDING|RUNNING|STOPPED|SUCCEEDED|FAILED)|succeeded|failed|stopped", said)
    return "RUNNING" if found is None or found[0] == "PENDING" else found[0].upper()


def json_lines(head: Head, job_id: str) -> list[dict[str, Any]]:
    """Return the lines about a job in the logs that Ray keeps."""
    lines = []
    for path in Path(head.folder, "session_latest", "logs").glob("worker-*.err"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{") and f'"{job_id}"' in line:
                lines.append(json.loads(line))
    return lines


def test_a_night_is_stopped_and_the_next_goes_on(
    head: Head, local_place: Place, tiny_prior: str, tmp_path: Path, seen: set[str]
) -> None:
    local_place.storage.write(f"{local_place.uri}/pictures/0.png", encoded(picture(0)))
    local_place.storage.write(f"{local_place.uri}/masks/0.png", encoded(hole(0)))
    output = f"{local_place.uri}/out"
    config: dict[str, Any] = {
        "corpus": {"images": f"{local_place.uri}/pictures", "masks": f"{local_place.uri}/masks"},
        "output": {"uri": output},
        "prior": {"source": tiny_prior},
        "sampler": {"preset": "paper"},
        "compute": {"batch_windows": 1, "checkpoint_s": 0.5},
    }
    path = write(tmp_path / "night.yaml", config)
    assert head.submit("nightly_cleanup.py", path, "--no-wait", "--submission-id=to-be-stopped").returncode == 0
    wait_until(lambda: list(Path(output).glob("jobs/*/inflight/*")), "a saved state")
    wait_until(
        lambda: {"ray_repaint_slots_used", f"ray_{PLANNED}"} <= scraped(head).keys(), "metrics of the work under way"
    )
    seen.update(scraped(head))
    stopped = head.ray("job", "stop", f"--address={head.address}", "to-be-stopped")
    assert "was stopped" in stopped.stdout + stopped.stderr
    plan = load_plans(output, local_place.storage)[0]
    assert newest(output, plan.job_id, local_place).released
    assert newest(output, NIGHT_LEASE, local_place).released
    assert list(Path(output).glob("jobs/*/inflight/*")), "the chain can be taken up"
    (summary,) = Path(output).glob("nights/*/summary.json")
    assert json.loads(summary.read_text())["ended"] == "stopped"
    logs = head.ray("job", "logs", f"--address={head.address}", "to-be-stopped")
    assert "told to stop; what was committed stays" in " ".join(logs.stdout.split())

    done = head.submit("nightly_cleanup.py", path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "ran: 1 ok, 0 skipped, 0 failed" in done.stdout
    assert read_status(output, local_place.storage).exit_code == 0


def test_the_metrics_of_these_jobs_are_on_the_prometheus_endpoint(head: Head, seen: set[str]) -> None:
    seen.update(scraped(head))
    exported = {name for name in seen if name.startswith("ray_repaint")}
    assert exported == {*(f"ray_{name}_total" for name in COUNTERS), *(f"ray_{name}" for name in (*GAUGES, PLANNED))}


def test_the_dashboard_asks_for_metrics_that_exist(seen: set[str]) -> None:
    dashboard = json.loads((ROOT / "infra" / "grafana" / "repaint-batch.json").read_text())
    asked = set(re.findall(r"ray_\w+", " ".join(
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
    )))  # fmt: skip
    assert {name for name in asked if name.startswith("ray_repaint")} >= {"ray_repaint_slots_used", "ray_repaint_images_total"}
    assert asked <= seen
