"""A look at some rows before a job starts, in a worker that strangers' bytes may crash."""

import logging

import pytest

from repaint_batch.errors import ConfigError, ManifestError
from repaint_batch.jobs.plan import load_plans
from repaint_batch.pipeline import first_look
from repaint_batch.pipeline.run import run_job

from ..conftest import Place
from ..corpus import job, rows, write_manifest
from .conftest import Recorder
from .saboteur import KILL_LOOK

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_what_it_finds_is_told_and_the_job_runs(
    local_place: Place, tiny_prior: str, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = rows(4)
    corpus[1]["image"] = {"bytes": b"<html>", "path": None}
    corpus[2] |= {"sample_id": "\x1b[2Jid", "image": {"bytes": None, "path": "https://me:hunter2@host/a.png"}}
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior)
    with caplog.at_level(logging.WARNING, first_look.__name__):
        assert run_job(config, recorder).counts == {"ok": 2, "skipped": 0, "failed": 2}
        refused, told = [record.message for record in caplog.records if record.name == first_look.__name__]
        assert told.startswith("unreadable picture: 1 of 4 pictures cannot be restored (picture-0001: ")
        assert "?[2Jid" in refused
        assert "https://***@host" in refused
        caplog.clear()
        run_job(config, recorder)
        assert caplog.records == [], "a job that goes on has been looked at"


def test_a_hopeless_or_dear_job_leaves_no_trace(local_place: Place, tiny_prior: str, recorder: Recorder) -> None:
    corpus = rows(3)
    manifest = write_manifest(local_place, [{**row, "image": {"bytes": b"<html>", "path": None}} for row in corpus])
    with pytest.raises(ManifestError, match="all of the 3 rows that were looked at would fail"):
        run_job(job(local_place, manifest, tiny_prior), recorder)
    manifest = write_manifest(local_place, corpus)
    dear = job(local_place, manifest, tiny_prior, compute={"price_per_gpu_hour": 1e12, "budget": 1.0})
    with pytest.raises(ConfigError, match=r"more than compute.budget = 1.00"):
        run_job(dear, recorder)
    assert load_plans(dear.output.uri, local_place.storage) == []
    assert recorder.plans == []


def test_a_row_that_crashes_it_is_a_warning(
    local_place: Place, tiny_prior: str, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = rows(2)
    corpus[1]["image"]["bytes"] += KILL_LOOK
    config = job(local_place, write_manifest(local_place, corpus), tiny_prior)
    with caplog.at_level(logging.WARNING, first_look.__name__):
        assert run_job(config, recorder).counts == {"ok": 2, "skipped": 0, "failed": 0}
    assert "ended with WorkerCrashedError" in caplog.text
