"""The config reference says everything, and is itself a config."""

import json

import pytest
import yaml

from repaint_batch.cli import run
from repaint_batch.cli.config import reference
from repaint_batch.config import InputConfig, JobConfig, Model, OutputConfig, parse_config
from repaint_batch.nights.config import CorpusConfig, NightConfig
from repaint_batch.priors.train_config import TrainConfig


def test_the_reference_of_a_job_is_a_job_with_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    expected = JobConfig(input=InputConfig(manifest="manifest.parquet"), output=OutputConfig(uri="restored"))
    assert parse_config(printed, JobConfig, "printed") == expected


def test_the_reference_of_training_is_a_config_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "train"]) == 0
    printed = parse_config(yaml.safe_load(capsys.readouterr().out), TrainConfig, "printed")
    assert printed == TrainConfig(pictures=("pictures",), output="prior")


def test_the_reference_of_a_night_is_a_config_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "night"]) == 0
    printed = parse_config(yaml.safe_load(capsys.readouterr().out), NightConfig, "printed")
    corpus = CorpusConfig(images="pictures")
    assert printed == NightConfig(corpus=corpus, output=OutputConfig(uri="restored"))


@pytest.mark.parametrize("model", [JobConfig, NightConfig, TrainConfig])
def test_every_setting_is_explained(model: type[Model]) -> None:
    lines = reference(model).splitlines()
    settings = [number for number, line in enumerate(lines) if not line.lstrip().startswith("#") and not line.endswith(":")]
    silent = [lines[number] for number in settings if not lines[number - 1].lstrip().startswith("#")]
    assert len(settings) > 20
    assert silent == []


def test_choices_and_bounds_are_said() -> None:
    said = " ".join(line.strip(" #") for line in reference(JobConfig).splitlines())
    assert "One of paper, best, balanced, fast, draft, preview." in said
    assert "At least 1 and at most 16. candidates: 1" in said
    assert "Over 0 and under 1. mask_threshold: 0.5" in said


def test_the_schema_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["input", "output"]
