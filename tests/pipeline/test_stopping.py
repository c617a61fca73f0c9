"""Jobs that are told to stop: what is under way is saved, the lease let go, and the exit code says so."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from repaint_batch.cli import run
from repaint_batch.config import JobConfig
from repaint_batch.errors import Stopped
from repaint_batch.jobs.lease import Lease
from repaint_batch.jobs.stop_request import Driver, request_stop
from repaint_batch.pipeline import stopping
from repaint_batch.pipeline.run import plan_job, run_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from .conftest import Recorder

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def long_job(local_place: Place, tiny_prior: str) -> JobConfig:
    """One shard whose sampling takes long, and saves its state all the time."""
    compute = {"shard_rows": 2, "batch_windows": 2, "checkpoint_s": 0.2, "max_attempts": 1}
    return job(local_place, write_manifest(local_place, rows(2)), tiny_prior, sampler={"preset": "paper"}, compute=compute)


def traces(config: JobConfig, kind: str) -> list[Path]:
    return [path for path in Path(config.output.uri, "jobs").glob(f"*/{kind}/**/*") if path.is_file()]


def when_sampling(config: JobConfig) -> threading.Thread:
    """Send this process SIGTERM as soon as a state of the job is saved."""

    def watch() -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not traces(config, "inflight"):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_sigterm_saves_lets_go_and_says_so(
    local_place: Place, long_job: JobConfig, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is given to save and leave depends on who stops the job; this machine may be busy with other tests.
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", "120")
    watching = when_sampling(long_job)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="told to stop; what was committed stays"):
        run_job(long_job, recorder)
    watching.join()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert traces(long_job, "inflight"), "the chain can be taken up"
    assert traces(long_job, "quarantine") == [], "the attempt ended by itself, and counts against nobody"
    plan, _, _ = plan_job(long_job, local_place.storage)
    newest = Lease(long_job.output.uri, plan.job_id, local_place.storage).newest()
    assert newest is not None
    assert newest.released
    assert ResultsTable(long_job.output.uri, local_place.storage).counts()["ok"] == 0


def test_a_request_from_another_machine_stops_a_job(local_place: Place, long_job: JobConfig, recorder: Recorder) -> None:
    asked: list[Driver] = []

    def ask() -> None:
        while not (asked or traces(long_job, "inflight")):
            time.sleep(0.05)
        asked.extend(request_stop(long_job.output.uri, local_place.storage))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    with pytest.raises(Stopped, match="stopped by `repaint-batch stop`; what was committed stays"):
        run_job(long_job, recorder)
    asking.join()
    assert traces(long_job, "inflight"), "the chain can be taken up"
    assert [driver.ended() for driver in asked] == ["stopped"]


def test_a_deadline_stops_a_job(long_job: JobConfig, recorder: Recorder) -> None:
    with pytest.raises(Stopped, match="the deadline is reached"):
        run_job(long_job, recorder, until=time.monotonic())


def test_the_exit_code_of_a_stopped_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(*arguments: object, **settings: object) -> None:
        raise Stopped("told to stop")

    monkeypatch.setattr("repaint_batch.pipeline.run.run_job", stopped)
    assert run(["run", "configs/restore-local.yaml"]) == 4
    assert "told to stop" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "save_s"), [("", 2), ("60", 45), ("1", 1), ("soon", 2)])
def test_the_time_to_save(monkeypatch: pytest.MonkeyPatch, given: str, save_s: float) -> None:
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", given)
    assert stopping._signal_save_s() == save_s
