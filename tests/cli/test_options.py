"""Commands on an output reach its store as its own jobs do."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from repaint_batch.cli.options import given, overridden, reached
from repaint_batch.config import StorageConfig
from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import freeze, job_uri
from repaint_batch.storage import Storage

from ..conftest import Place
from ..publishing import plan_of

THEIRS = StorageConfig(endpoint_url="http://store:1", region="there", patience_s=7, allow=("s3://b",))


@pytest.fixture
def output(local_place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """An output of two jobs, of which the one that was planned last says how to reach it."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    newer = plan_of(local_place, storage=THEIRS.model_dump())
    older = replace(newer, job_id="f" * 16, mode="upsert", config={**newer.config, "storage": StorageConfig().model_dump()})
    for plan in (newer, older):
        freeze(plan, local_place.uri, Storage())
    os.utime(Path(job_uri(local_place.uri, older.job_id, "plan.json")), (1, 1))
    return local_place.uri


def test_the_newest_job_says_how(output: str) -> None:
    assert reached(output, None, None).config == THEIRS


def test_options_say_otherwise(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = THEIRS.model_copy(update={"endpoint_url": "http://here:2"})
    assert reached(output, "http://here:2", None).config == here
    assert reached(output, "http://here:2", "elsewhere").config == here.model_copy(update={"region": "elsewhere"})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://here:2")
    assert reached(output, None, None).config == here
    assert overridden(THEIRS, None, None) == THEIRS, "a job that goes on has workers, which need not have that variable"


def test_without_a_job_options_are_all_there_is(tmp_path: Path) -> None:
    assert reached(str(tmp_path), None, "there").config == StorageConfig(region="there")


def test_an_endpoint_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(ConfigError, match=r"--endpoint-url.*must not carry credentials") as refusal:
        given("http://me:hunter2@store", None)
    assert "hunter2" not in str(refusal.value)
