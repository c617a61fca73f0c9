"""The command line as a person meets it: what it prints and what it exits with."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from repaint_batch.cli import run
from repaint_batch.config import StorageConfig
from repaint_batch.results.usage import Usage, write_usage
from repaint_batch.storage import Storage

from ..conftest import Place
from ..corpus import SIZE_PX, encoded, job, rows, save_tiny_prior, write_manifest


@pytest.fixture
def config_path(tmp_path: Path) -> str:
    place = Place(str(tmp_path), StorageConfig())
    corpus = rows(3)
    corpus[1]["image"] = {"bytes": b"broken", "path": None}
    config = job(place, write_manifest(place, corpus), save_tiny_prior(tmp_path / "prior"))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_a_job_from_plan_to_retry(config_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "out")
    assert run(["plan", config_path]) == 0
    assert "3 rows in 1 files" in printed(capsys)
    assert not Path(output).exists(), "planning writes nothing"

    (report := Path(output, "report.html")).mkdir(parents=True)  # where the page is to go
    assert run(["run", config_path]) == 3, "the job is done, with or without its page"
    said = printed(capsys)
    assert "2 ok, 0 skipped, 1 failed" in said
    assert f"repaint-batch retry-failed {output}" in said
    assert "the report was not written" in said
    report.rmdir()

    assert run(["run", config_path]) == 3
    assert "already finished: 2 ok, 0 skipped, 1 failed; 0 network evaluations" in printed(capsys)

    assert run(["status", output, "--json"]) == 3
    status = json.loads(capsys.readouterr().out)
    assert (status["rows"], status["ok"], status["failed"], status["missing"]) == (3, 2, 1, 0)
    (job_id,) = (planned["job_id"] for planned in status["jobs"])
    write_usage(output, job_id, "node/1", asdict(Usage(10**6, 10**6, 4, 7e5, 1e6, 3, 2)), Storage())
    assert run(["status", output, "--json"]) == 3
    device = json.loads(capsys.readouterr().out)["device"]
    assert (device["job_id"], device["windows_waiting"], device["parcels"]) == (job_id, 0, 0), "it is done"
    assert (device["slots_used"], device["device_waits"]) == (pytest.approx(0.25, abs=0.01), pytest.approx(0.3, abs=0.01))
    assert run(["status", output]) == 3
    said = printed(capsys)
    assert "2 ok, 0 skipped, 1 failed, 0 missing of 3 rows" in said
    assert "25% of slots in use, device waits 30% of the time" in said

    assert run(["retry-failed", output]) == 3
    said = printed(capsys)
    assert "2 ok, 0 skipped, 1 failed" in said
    assert f"report: {report}" in said
    assert report.stat().st_size > 20_000
    assert run(["resume", output]) == 3
    assert printed(capsys).count("already finished") == 2


def test_a_job_in_which_no_mask_has_a_hole_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, corpus = Place(str(tmp_path), StorageConfig()), rows(2)
    for row in corpus:
        row["mask"] = {"bytes": encoded(np.zeros((SIZE_PX, SIZE_PX), np.uint8)), "path": None}
    config, path = job(place, write_manifest(place, corpus), save_tiny_prior(tmp_path / "prior")), tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    assert run(["check", str(path)]) == 3
    assert "no hole: 2 of 2 masks have no hole" in printed(capsys)
    assert run(["run", str(path)]) == 3
    said = printed(capsys)
    assert "0 ok, 2 skipped, 0 failed" in said
    assert "nothing was restored: no mask has a hole, with images.hole white" in said
    assert run(["status", str(tmp_path / "out")]) == 3


@pytest.mark.parametrize("command", ["status", "resume", "retry-failed"])
def test_an_output_without_a_job(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(tmp_path)]) == 1
    assert "no job was ever planned there" in printed(capsys)


def test_mistyped_arguments_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runn", "x"]) == 2
    assert run(["run"]) == 2
    assert "No such command" in printed(capsys)
