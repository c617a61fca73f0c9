"""What goes wrong, as a person meets it: one line that says what, where and what to do, and no traceback but for a bug."""

import errno
import os
import time
from pathlib import Path

import pytest
import typer

from repaint_batch import cli
from repaint_batch.config import JobConfig, StorageConfig, parse_config
from repaint_batch.errors import ConfigError, PriorError, StorageError
from repaint_batch.patience import Silence
from repaint_batch.priors.source import locate
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.storage import Storage, no_space


def raising(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command line says of an error that a command of its raises."""
    app = typer.Typer()

    @app.command("it")
    def it() -> None:
        raise error

    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["it"]) == 1
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
