"""The command line as a person meets it: what it prints and what it exits with."""

import json
import uuid
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from repaint_batch.cli import run
from repaint_batch.config import StorageConfig
from repaint_batch.jobs.usage import Usage, write_usage
from repaint_batch.outputs.reviews import Decision, Reviews
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import SIZE_PX, encoded, job, rows, save_tiny_prior, write_manifest
from ..restored import restore_here

SECOND_NS = 1_700_000_000_123_456_789
OWN = {
    "taken at": pa.array([SECOND_NS] * 3, pa.timestamp("ns", "Europe/Berlin")),
    "box%": pa.array([250, None, 3], pa.uint8()),
    "é/kind": pa.array(["a", "b", "a"]).dictionary_encode(),
    "weight": pa.array(np.array([0.5, 1.5, -2], np.float16)),
    "parts": pa.array([[1], [], None], pa.list_(pa.uint32())),
}
"""Columns of the owner's own, of types that Delta does not hold."""
NOTE = "column 'box%' (uint8) is kept as int16"


@pytest.fixture
def config_path(tmp_path: Path) -> str:
    place = Place(str(tmp_path), StorageConfig())
    corpus = rows(3)
    corpus[1]["image"] = {"bytes": b"broken", "path": None}
    manifest = write_manifest(place, corpus)
    table = pq.read_table(manifest)
    for name, values in OWN.items():
        table = table.append_column(name, values)
    pq.write_table(table, manifest)
    config = job(place, manifest, save_tiny_prior(tmp_path / "prior"))
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_from_plan_to_retry(config_path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "out")
    assert run(["check", config_path]) == 3
    said = printed(capsys)
    assert "3 rows in 1 files" in said
    assert NOTE in said
    assert not Path(output).exists(), "checking writes nothing"

    (report := Path(output, "report.html")).mkdir(parents=True)  # where the page is to go
    assert run(["run", config_path, "--rows", "1", "--json"]) == 0, "of the one row that it has been asked for"
    told, said = capsys.readouterr()
    assert [(job["rows_run"], job["rows_left"]) for job in json.loads(told)["jobs"]] == [(1, 2)]
    assert f"2 of 3 rows are left: `repaint-batch run {config_path}` runs them" in " ".join(said.split())
    (first,) = ResultsTable(output, Storage()).rows()
    assert run(["run", config_path]) == 3, "the job is done, with or without its page"
    said = printed(capsys)
    assert "2 rows ran in" in said
    assert first in list(ResultsTable(output, Storage()).rows()), "it was not run again"
    assert f"{output} holds 2 ok, 0 skipped, 1 failed" in said
    assert "failed: 1 ImageInvalid, of picture-0001: " in said, "which, and why"
    assert f"then `repaint-batch retry-failed {output} --config {config_path}`" in said, "and what to type"
    assert NOTE in said
    assert "the report was not written" in said
    report.rmdir()

    assert run(["run", config_path]) == 3
    assert f"already finished; 0 network evaluations; {output} holds 2 ok, 0 skipped, 1 failed" in printed(capsys)

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

    kept = list(ResultsTable(output, Storage()).rows(tuple(OWN)))
    assert [row["box%"] for row in kept] == [250, None, 3]
    assert [row["é/kind"] for row in kept] == ["a", "b", "a"]
    assert [row["weight"] for row in kept] == [0.5, 1.5, -2]
    assert [row["parts"] for row in kept] == [[1], [], None]
    assert {row["taken at"].timestamp() for row in kept} == {SECOND_NS // 1000 / 1e6}

    assert run(["retry-failed", output, "--config", config_path]) == 3
    said = printed(capsys)
    assert f"no setting differs from those of job {job_id}: its 1 failed rows run again as they were" in said
    assert "1 rows ran in" in said
    assert "2 ok, 0 skipped, 1 failed" in said
    assert f"report: {report}" in said
    assert report.stat().st_size > 20_000
    assert run(["run", output]) == 3
    assert printed(capsys).count("already finished") == 2
    assert run(["run", output, "--rows", "1"]) == 2
    assert "--set and --rows need the config of the job" in printed(capsys)
    assert run(["stop", output]) == 0
    assert f"nothing runs in {output}" in printed(capsys)


def test_a_redo_of_a_picture_that_has_changed_is_named_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(str(tmp_path), StorageConfig())
    restore_here(job(place, write_manifest(place, rows(1)), save_tiny_prior(tmp_path / "prior")))
    output = str(tmp_path / "out")
    (row,) = ResultsTable(output, Storage()).rows(("sample_id", "output_sha256", "attempt"))
    redo = Decision(row["sample_id"], row["output_sha256"], row["attempt"], "redo", "draft", 7, image_sha256="0" * 64)
    Reviews(output, Storage()).record(str(uuid.uuid4()), 1, [redo])
    assert run(["retry-failed", output, "--rejected"]) == 3
    assert "not redone: picture-0000: the picture has changed since it was reviewed; review it again" in printed(capsys)


def test_a_job_in_which_no_mask_has_a_hole_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, corpus = Place(str(tmp_path), StorageConfig()), rows(2)
    for row in corpus:
        row["mask"] = {"bytes": encoded(np.zeros((SIZE_PX, SIZE_PX), np.uint8)), "path": None}
    config, path = job(place, write_manifest(place, corpus), save_tiny_prior(tmp_path / "prior")), tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    assert run(["check", str(path)]) == 3
    assert "no hole: 2 of 2 masks have no hole" in printed(capsys)
    restore_here(config)
    assert run(["run", str(path)]) == 3
    said = printed(capsys)
    assert "0 ok, 2 skipped, 0 failed" in said
    assert "nothing was restored: no mask has a hole, with images.hole white" in said
    assert run(["status", str(tmp_path / "out")]) == 3
    capsys.readouterr()
    assert run(["run", str(tmp_path / "out")]) == 3
    assert "nothing was restored: no mask has a hole" in printed(capsys)


@pytest.mark.parametrize("command", ["status", "run", "retry-failed", "stop"])
def test_an_output_without_a_job(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(tmp_path)]) == 1
    assert "no job was ever planned there" in printed(capsys)


def test_mistyped_arguments_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runn", "x"]) == 2
    assert run(["run"]) == 2
    assert "No such command" in printed(capsys)
