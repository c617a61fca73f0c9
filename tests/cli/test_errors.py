"""What goes wrong, as a person meets it: one line that says what, where and what to do, and no traceback but for a bug."""

import errno
import os
import time
from pathlib import Path

import pytest
import typer
import yaml

from repaint_batch import cli
from repaint_batch.cli import options
from repaint_batch.config import JobConfig, StorageConfig, parse_config
from repaint_batch.errors import ConfigError, Interrupted, NoBucket, PriorError, Stopped, StorageError
from repaint_batch.patience import Silence
from repaint_batch.priors.source import locate
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.storage import Storage, no_space

from ..conftest import Place
from ..corpus import rows, write_manifest
from ..seaweed import free_ports


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int = 1) -> str:
    """Return what the command line says of an error that a command of its raises, and for which it exits with `code`."""
    app = typer.Typer()

    @app.command("it")
    def it() -> None:
        raise error

    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["it"]) == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EACCES, "Permission denied", "/nowhere/pairs.png"), "/nowhere/pairs.png: Permission denied; check"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "no space left for /tmp/x: "),
        (RuntimeError("IO error: No space left on device (os error 28)"), "no space left on a disk"),
    ],
)
def test_an_error_of_a_disk_is_one_line(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = raising(error, monkeypatch, capsys)
    assert said.startswith(f"error: {words}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted: nothing is lost; the same command goes on"),
        (Interrupted("nothing is lost; `x` goes on"), 130, "interrupted: nothing is lost; `x` goes on (exit code 130)"),
        (Stopped("told to stop"), 4, "stopped: told to stop (exit code 4)"),
        (NoBucket("s3://b: no bucket"), 2, "error: s3://b: no bucket"),
        (StorageError("s3://b: so"), 1, "error: s3://b: so"),
    ],
)
def test_an_end_has_its_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error, monkeypatch, capsys, code) == f"{words}\n"


def test_a_missing_bucket_is_one_mistake_wherever_it_stands(
    s3_place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = s3_place.config.model_dump()
    manifest = write_manifest(s3_place, rows(1))
    job = {"input": {"manifest": manifest}, "output": {"uri": f"{s3_place.uri}/out"}, "storage": storage}
    night = {"corpus": {"images": f"{s3_place.uri}/pictures"}, "output": {"uri": "s3://no-bucket/out"}, "storage": storage}
    for command, config in (
        ("run", {**job, "input": {"manifest": "s3://no-bucket/m.parquet"}}),
        ("check", {**job, "output": {"uri": "s3://no-bucket/out"}}),
        ("night", night),
    ):
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
        assert cli.run([command, str(tmp_path / "job.yaml")]) == 2
        assert "the store has no bucket no-bucket; check its name and the endpoint, or make it" in capsys.readouterr().err
    assert cli.run(["status", "s3://no-bucket/out", "--endpoint-url", str(storage["endpoint_url"])]) == 2


@pytest.mark.parametrize("command", ["history s3://b/out", "manifest build --images s3://b/p --no-masks --to m.parquet"])
def test_who_mistypes_an_endpoint_is_not_held_for_long(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(options, "FIRST_S", 0.1)
    (port,) = free_ports(1)
    assert cli.run([*command.split(), "--endpoint-url", f"http://127.0.0.1:{port}"]) == 1
    assert "0.1 s of patience are over" in capsys.readouterr().err


def test_a_bug_says_how_to_report_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = raising(KeyError("token=abc123"), monkeypatch, capsys)
    assert "Traceback" in said
    assert "this is a bug of repaint-batch" in said.splitlines()[-1]
    assert "abc123" not in said


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for put in (Storage().write, Storage().create):
        with pytest.raises(StorageError, match=r"no space left for .*plan\.json: .* MiB are free.*repaint-batch run OUTPUT"):
            put(str(tmp_path / "jobs" / "plan.json"), b"{}")
    assert list((tmp_path / "jobs").iterdir()) == []
    assert str(tmp_path) in no_space(str(tmp_path / "not" / "there"))


def test_a_mistyped_folder_of_a_prior_is_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PriorError, match=r"there is no folder or file .*/priors/mine; check the path.*prior.revision is not set"):
        locate("priors/mine", None, Storage())


def test_a_section_that_is_none_names_its_keys() -> None:
    with pytest.raises(ConfigError, match=r"crops: expected a section with the keys scales, aged; `crops: \{\}` takes"):
        parse_config({"pictures": ["p"], "output": "o", "crops": True}, TrainConfig, "prior.yaml")
    with pytest.raises(ConfigError, match="storage: expected a section with the keys endpoint_url"):
        parse_config({"input": {"manifest": "m"}, "output": {"uri": "o"}, "storage": "s3"}, JobConfig, "job.yaml")


def test_an_endpoint_without_a_scheme_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:8333")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL: an endpoint is https://HOST or http://HOST:PORT, with its scheme"):
        Storage().exists("s3://bucket/key")
    with pytest.raises(ConfigError, match="with its scheme"):
        parse_config({"endpoint_url": "localhost:8333"}, StorageConfig, "storage")


def test_a_store_that_is_silent_is_named_after_five_seconds_and_once_a_minute() -> None:
    silence = Silence()
    began = time.monotonic()
    with silence.over("http://store", "s3://b/m.parquet: read"), silence.over("http://store", "s3://b/n.parquet: read"):
        assert silence.overdue(began + 4) == []
        (line,) = silence.overdue(began + 6)
        assert line.startswith("s3://b/m.parquet: read: http://store has not answered for ")
        assert silence.overdue(began + 30) == []
        assert len(silence.overdue(began + 67)) == 1
    assert silence.overdue(began + 200) == []


def test_errors_name_the_flag_of_the_command_in_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "s3://bucket/out", "--endpoint-url", "localhost:8333"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --endpoint-url")
    assert "an endpoint is https://HOST" in said
    assert cli.run(["prior", "inspect", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: SOURCE: there is no folder or file")
    assert cli.run(["prior", "inspect", "owner/model"]) == 2
    assert "--revision is not set" in capsys.readouterr().err
