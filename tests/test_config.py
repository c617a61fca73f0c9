"""Configs: every fault is one line that names the key."""

import re
from pathlib import Path

import pytest

from repaint_batch.cli import run
from repaint_batch.config import RETIRED, JobConfig, fingerprint, load_config, without_retired
from repaint_batch.errors import ConfigError
from repaint_batch.priors.train_config import TrainConfig

ROOT = Path(__file__).parents[1]
GOOD = "input: {manifest: m.parquet}\noutput: {uri: out}\n"


def write(folder: Path, text: str) -> str:
    path = folder / "job.yaml"
    path.write_text(text)
    return str(path)


def test_shipped_configs_are_valid() -> None:
    for path in (ROOT / "configs").glob("restore-*.yaml"):
        load_config(path, JobConfig)
    for path in (ROOT / "configs").glob("prior-*.yaml"):
        load_config(path, TrainConfig)


def test_defaults_need_only_input_and_output(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD), JobConfig)
    assert config.prior.source == "bundled:photo"
    with pytest.raises(ValueError, match="frozen"):
        config.sampler.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "smapler: {preset: fast}\n", "smapler: unknown key; known keys: input, output, prior"),
        (GOOD + "sampler: {presett: fast}\n", "sampler.presett: unknown key; known keys: preset, num_steps, own, seed"),
        (GOOD + "sampler: {presett: fast}\n", "candidates; did you mean 'preset'?"),
        (GOOD + "sampler: {preset: fsat}\n", "(got 'fsat'); did you mean 'fast'?"),
        (GOOD + "sampler: {preset: fastest}\n", "sampler.preset: Input should be"),
        (GOOD + "compute: {shard_rows: many}\n", "compute.shard_rows: Input should be a valid integer"),
        (GOOD + "compute: {shard_rows: 0}\n", "compute.shard_rows: Input should be greater than 0"),
        (GOOD + "storage: {endpoint_url: 'http://key:secret@host'}\n", "storage.endpoint_url: an endpoint must not carry"),
        ("input: {manifest: m.parquet}\n", "output: required; `repaint-batch config` explains it"),
        ("- a list\n", "expected sections (input, output"),
        ("input: [unclosed\n", "line 2 is not valid YAML"),
    ],
)
def test_faults_name_the_key_and_exit_with_2(tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, JobConfig)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert run(["run", path]) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml: cannot read the config (No such file or directory)" in capsys.readouterr().err.replace("\n", " ")


def test_secrets_are_not_echoed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["run", write(tmp_path, GOOD + "storage: {endpoint_url: 'http://key:hunter2@host'}\n")])
    assert "hunter2" not in capsys.readouterr().err


def test_fingerprint_ignores_order_and_sees_every_change() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len({fingerprint(1), fingerprint("1"), fingerprint([1]), fingerprint(1, 1)}) == 4


def test_settings_are_put_in_place_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: {manifest: a.parquet}\noutput: {uri: out}\nsampler: {seed: 1}\n")
    given = ["sampler.preset=draft", "compute.actors=[1, 4]", "storage.allow=[s3://a/b]", "input.manifest=b.parquet"]
    config = load_config(path, JobConfig, given)
    assert (config.sampler.preset, config.sampler.seed, config.compute.actors) == ("draft", 1, (1, 4))
    assert (config.storage.allow, config.input.manifest) == (("s3://a/b",), "b.parquet")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("sampler.presett=draft", "--set: sampler.presett: unknown key; known keys: preset"),
        ("sampler.preset=quick", "--set: sampler.preset: Input should be 'paper'"),
        ("compute.shard_rows=many", "--set: compute.shard_rows: "),
        ("sampler=draft", "--set: sampler: expected a section with the keys preset"),
        ("sampler.preset", "--set sampler.preset: expected section.key=value"),
        ("storage.allow=[", "--set storage.allow: '[' is not a YAML value"),
    ],
)
def test_a_setting_that_cannot_be_honoured_names_its_key(setting: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("input: {manifest: a.parquet}\noutput: {uri: out}\n")
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(path, JobConfig, [setting])


@pytest.mark.parametrize(("section", "key"), RETIRED)
def test_what_is_no_setting_any_more_is_told_and_old_plans_are_still_read(section: str, key: str, tmp_path: Path) -> None:
    value, decides = RETIRED[section, key]
    with pytest.raises(ConfigError, match=f"{section}.{key}: no longer a setting; it is always {value}; remove it"):
        load_config(write(tmp_path, f"{GOOD}{section}: {{{key}: {value}}}\n"), JobConfig)
    planned = JobConfig.model_validate({"input": {"manifest": "m.parquet"}, "output": {"uri": "out"}}).model_dump()
    planned[section][key] = value
    assert key not in without_retired(planned, "plan")[section]
    planned[section][key] = value + 1
    if decides:
        with pytest.raises(ConfigError, match=f"plan: {section}.{key} is now always {value}"):
            without_retired(planned, "plan")
    else:
        assert key not in without_retired(planned, "plan")[section]
