"""Workers that die, stages that raise, shards that hang: real processes, ended for real by what a row holds."""

from pathlib import Path
from typing import Any

import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import ManifestError, ShardFailed
from repaint_batch.pipeline import run
from repaint_batch.pipeline.run import plan_job, run_job
from repaint_batch.results.attempts import AttemptLog, Unit
from repaint_batch.results.plan import freeze, load_plans
from repaint_batch.results.status import read_status
from repaint_batch.results.table import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from .conftest import Recorder
from .saboteur import HANG_ACTOR, KILL_ACTOR, KILL_DECODE, RAISE_IN_ACTOR

pytestmark = pytest.mark.usefixtures("ray_cluster")


def probes(config: JobConfig, job_id: str, shard: int) -> int:
    attempts = Path(config.output.uri, "jobs", job_id, "attempts", f"{shard:010d}")
    return len([path for path in attempts.iterdir() if path.name.startswith("probe-")])


@pytest.mark.parametrize("stage", ["decode", "actor"])
def test_a_row_that_kills_its_worker_is_found(
    local_place: Place, tiny_prior: str, recorder: Recorder, stage: str
) -> None:
    corpus = rows(16)
    if stage == "decode":
        corpus[11]["image"]["bytes"] += KILL_DECODE
    else:
        corpus[11]["sample_id"] = f"{KILL_ACTOR}-11"
    compute = {"shard_rows": 8, "max_attempts": 2, "batch_windows": 8}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute=compute)
    summary = run_job(config, recorder)
    assert summary.counts == {"ok": 15, "skipped": 0, "failed": 1}
    (failed,) = ResultsTable(config.output.uri, local_place.storage).rows(where=[("status", "=", "failed")])
    assert failed["sample_id"] == corpus[11]["sample_id"]
    assert failed["error_class"] == "WorkerKilled"
    assert "the process that works on this row dies" in failed["reason"]
    assert 1 <= probes(config, summary.plan.job_id, 1) <= 4, "log2(8) + 1"
    assert run_job(config, recorder).shards_run == 0


def test_a_stage_that_raises_ends_the_job_and_keeps_the_rest(
    local_place: Place, tiny_prior: str, recorder: Recorder
) -> None:
    corpus = rows(8)
    corpus[5]["sample_id"] = f"{RAISE_IN_ACTOR}-5"
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute={"max_attempts": 2})
    with pytest.raises(ShardFailed, match=r"shard 1 failed 2 times: RuntimeError: planted by the tests.*resume"):
        run_job(config, recorder)
    status = read_status(config.output.uri, local_place.storage)
    assert (status.ok, status.missing, status.exit_code) == (4, 4, 1)


def test_a_shard_that_hangs_ends_at_its_deadline(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(2)
    corpus[1]["sample_id"] = f"{HANG_ACTOR}-1"
    compute = {"shard_rows": 2, "max_attempts": 1, "shard_deadline_s": 8}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute=compute)
    assert run_job(config, recorder).counts == {"ok": 1, "skipped": 0, "failed": 1}


def test_attempts_that_died_with_their_drivers_cost_no_row(
    local_place: Place, tiny_prior: str, recorder: Recorder
) -> None:
    config = job(local_place, write_manifest(local_place, rows(4)), tiny_prior, compute={"max_attempts": 2})
    plan = freeze(plan_job(config, local_place.storage)[0], config.output.uri, local_place.storage)
    log = AttemptLog(config.output.uri, plan, local_place.storage)
    for _ in range(2):
        log.begin(Unit.whole(plan, 0))
    assert run_job(config, recorder).counts == {"ok": 4, "skipped": 0, "failed": 0}
    assert log.quarantined(0) == {}


def test_a_manifest_that_changes_under_way_is_told_at_once(
    local_place: Place, tiny_prior: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(local_place, write_manifest(local_place, rows(8)), tiny_prior)
    def change_then_restore(*arguments: Any) -> None:
        write_manifest(local_place, rows(9))
        restore(*arguments)

    restore = run.restore
    monkeypatch.setattr(run, "restore", change_then_restore)
    with pytest.raises(ManifestError, match="has changed since the job was planned"):
        run_job(config, recorder)


def test_attempts_are_found_by_a_new_driver(place: Place, tiny_prior: str, recorder: Recorder) -> None:
    config = job(place, write_manifest(place, rows(4)), tiny_prior)
    run_job(config, recorder)
    (plan,) = load_plans(config.output.uri, place.storage)
    log = AttemptLog(config.output.uri, plan, place.storage)
    assert log.counts() == {0: 1}
    log.quarantine(3, 12, "first")
    log.quarantine(3, 13, "second")
    assert log.quarantined(3) == {12: "first", 13: "second"}
    assert log.quarantined(4) == {}
    log.record_error(1, ValueError("said"))
    assert [(e.shard, e.error_class, e.message) for e in log.errors()] == [(1, "ValueError", "said")]
    log.clear_errors()
    log.clear({0})
    assert (log.errors(), log.counts()) == ([], {})
