"""Workers that die, stages that raise, shards that hang: real processes, ended for real by what a row holds."""

from functools import partial
from typing import Any

import pytest

from repaint_batch.errors import ManifestError, ShardFailed, Stopped
from repaint_batch.jobs.plan import freeze
from repaint_batch.jobs.quarantine import Quarantine
from repaint_batch.outputs.status import read_status
from repaint_batch.pipeline import run
from repaint_batch.pipeline.job import Job
from repaint_batch.pipeline.run import plan_job, run_job
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from .conftest import Recorder
from .saboteur import HANG_ACTOR, KILL_ACTOR, KILL_DECODE, RAISE_IN_ACTOR

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_rows_that_kill_their_workers_are_found(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(4)
    corpus[1]["image"]["bytes"] += KILL_DECODE
    corpus[2]["sample_id"] = f"{KILL_ACTOR}-2"
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute={"max_attempts": 1, "shard_rows": 2})
    summary = run_job(config, recorder)
    assert summary.counts == {"ok": 2, "skipped": 0, "failed": 2}
    failed = list(ResultsTable(config.output.uri, local_place.storage).rows(where=[("status", "=", "failed")]))
    assert {row["sample_id"] for row in failed} == {corpus[1]["sample_id"], corpus[2]["sample_id"]}
    assert {row["error_class"] for row in failed} == {"WorkerKilled"}
    assert all("the process that works on this row dies" in row["reason"] for row in failed)
    assert run_job(config, recorder).rows_run == 0


def test_a_stage_that_raises_ends_the_job_and_keeps_the_rest(
    local_place: Place, tiny_prior: str, recorder: Recorder
) -> None:
    corpus = rows(8)
    corpus[5]["sample_id"] = f"{RAISE_IN_ACTOR}-5"
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute={"max_attempts": 1})
    with pytest.raises(ShardFailed, match=r"rows 4 to 7 failed 1 times: RuntimeError: planted by the tests.*batch run OUTPUT"):
        run_job(config, recorder)
    status = read_status(config.output.uri, local_place.storage)
    assert (status.ok, status.missing, status.exit_code) == (4, 4, 1)


def test_a_shard_that_hangs_ends_at_its_deadline(
    local_place: Place, tiny_prior: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Job", partial(Job, deadline_s=4))
    corpus = rows(1)
    corpus[0]["sample_id"] = f"{HANG_ACTOR}-0"
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute={"max_attempts": 1})
    assert run_job(config, recorder).counts == {"ok": 0, "skipped": 0, "failed": 1}


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


def test_rows_that_were_set_aside_are_known_to_a_new_driver(place: Place, tiny_prior: str) -> None:
    config = job(place, write_manifest(place, rows(16)), tiny_prior, compute={"shard_rows": 4})
    plan = freeze(plan_job(config, place.storage)[0], config.output.uri, place.storage)
    Quarantine(config.output.uri, plan, place.storage).add({12: "first", 3: "another shard"})
    Quarantine(config.output.uri, plan, place.storage).add({13: "second"})
    again = Quarantine(config.output.uri, plan, place.storage)
    assert again.of_shard(3) == {12: "first", 13: "second"}
    assert again.of_shard(0) == {3: "another shard"}
    assert again.of_shard(1) == {}


def test_a_job_in_which_nearly_all_rows_fail_is_stopped(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(130)
    for row in corpus[:120]:
        row["image"]["bytes"] = b"no picture"
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior, compute={"shard_rows": 60})
    with pytest.raises(Stopped, match=r"failed, more than compute.max_failed = 0.9"):
        run_job(config, recorder)
    assert read_status(config.output.uri, local_place.storage).failed >= 90
