"""Why a row runs, and why not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repaint_batch.config import InputConfig, JobConfig, OutputConfig
from repaint_batch.errors import ConfigError, Stopped
from repaint_batch.jobs.lease import NIGHT_LEASE, Lease
from repaint_batch.jobs.stop_request import request_stop
from repaint_batch.nights.config import CorpusConfig, NightConfig
from repaint_batch.nights.corpus import Comparison, asked_for, why_run
from repaint_batch.nights.night import _Night
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..conftest import Place

JOB = JobConfig(input=InputConfig(manifest="m.parquet"), output=OutputConfig(uri="out"))
ASKED = asked_for("prior", "sampler", JOB)
LISTED = {"sample_id": "a.png", "image_identity": "10-abc", "mask_identity": "5-def"}
KNOWN = {**LISTED, "status": "ok", "asked": ASKED, "earlier_failures": 0}


@pytest.mark.parametrize(
    ("listed", "known", "runs", "why"),
    [
        ({}, None, True, "new"),
        ({}, {}, False, "unchanged"),
        ({}, {"status": "skipped"}, False, "unchanged"),
        ({"image_identity": "10-xyz"}, {}, True, "changed"),
        ({"mask_identity": "6-def"}, {"status": "failed", "earlier_failures": 9}, True, "changed"),
        ({}, {"status": "failed"}, True, "failed before"),
        ({}, {"status": "failed", "earlier_failures": 1}, True, "failed before"),
        ({}, {"status": "failed", "earlier_failures": 2}, False, "quarantined"),
        ({}, {"asked": asked_for("another", "sampler", JOB)}, True, "new prior"),
        ({}, {"asked": asked_for("prior", "another", JOB)}, True, "new sampler"),
        ({}, {"asked": asked_for("another", "another", JOB), "status": "failed", "earlier_failures": 9}, True, "new prior"),
    ],
)
def test_why(listed: dict[str, Any], known: dict[str, Any] | None, runs: bool, why: str) -> None:
    row = None if known is None else {**KNOWN, **known}
    assert why_run({**LISTED, **listed}, row, ASKED, tries=3) == (runs, why)


def test_pictures_alone_are_a_corpus_too(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.jpg", "notes.txt"):
        (tmp_path / "pictures" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "pictures" / name).write_bytes(b"x")
    (tmp_path / "scratch").mkdir()
    corpus = CorpusConfig(images=str(tmp_path / "pictures"))
    comparison = Comparison(corpus, ResultsTable(str(tmp_path / "out"), Storage()), JOB, ASKED, 3, tmp_path / "scratch")
    (rows,) = comparison.manifest("night")
    assert (rows["sample_id"].to_pylist(), rows["mask"].to_pylist()) == (["a.png", "b/c.jpg"], [None, None])
    comparison.close()


def test_a_night_is_told_where_masks_are_or_what_to_look_for() -> None:
    values = {"corpus": {"images": "pictures"}, "output": {"uri": "out"}}
    with pytest.raises(ConfigError, match="masks"):
        NightConfig.model_validate(values).job("m.parquet")
    found = NightConfig.model_validate({**values, "images": {"masks": {"find": ["dust"]}}}).job("m.parquet")
    assert found.images.masks is not None


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ({"images": {"mask_grow_px": 4}}, True),
        ({"output": {"uri": "out", "format": "png"}}, True),
        ({"output": {"uri": "out", "images": "files"}}, True),
        ({"sampler": {"seed": 1}}, True),
        ({"compute": {"actors": 7}}, False),
        ({"input": {"manifest": "another.parquet"}}, False),
    ],
)
def test_what_is_asked_for(section: dict[str, Any], changed: bool) -> None:
    job = JobConfig.model_validate({**JOB.model_dump(), **section})
    before = {**KNOWN, "asked": ASKED}
    asked = asked_for("prior", "sampler", job)
    assert why_run(LISTED, before, asked, tries=3) == ((True, "new settings") if changed else (False, "unchanged"))


def test_a_night_that_is_asked_to_stop_begins_no_job(local_place: Place) -> None:
    values = {"corpus": {"images": "pictures", "masks": "masks"}, "output": {"uri": f"{local_place.uri}/out"}}
    config, begun = NightConfig.model_validate(values), list[tuple[object, Any]]()

    def run(job: object, *arguments: object, **settings: object) -> Any:
        begun.append((job, settings["asked"]))
        return SimpleNamespace(plan=SimpleNamespace(job_id="0"))

    with Lease(config.output.uri, NIGHT_LEASE, local_place.storage) as lease:
        night = _Night(config, watch=run, report=lambda output, storage: None, run=run, lease=lease)
        night._run("first", None, None)
        ((_, asked),) = begun
        assert not asked()
        request_stop(config.output.uri, local_place.storage)
        assert asked(), "a job that is starting has no lease of its own yet"
        with pytest.raises(Stopped, match="the next night goes on"):
            night._run("second", None, None)
    assert [job for job, _ in begun] == ["first"]
