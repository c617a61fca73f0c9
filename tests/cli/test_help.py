"""Help: an example for every command, which that command would take; completion in the shell."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text

from repaint_batch import cli
from repaint_batch.cli import dev, options


def commands() -> Iterator[tuple[str, Any]]:
    for name in dev.HEAVY:
        dev.load(name)
    root = typer.main.get_command(cli.app)
    for name, command in vars(root)["commands"].items():
        for inner, found in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner}".strip(), found


def test_every_command_has_an_example_that_it_takes() -> None:
    seen = 0
    for name, command in commands():
        examples = re.findall(r"Example: repaint-batch (.+)", command.help or "")
        assert examples, f"{name} --help shows no example"
        for example in examples:
            assert example == name or example.startswith(f"{name} "), example
            # Raises where an option or a value is none of the command's.
            command.make_context(name, shlex.split(example.removeprefix(name)))
        for parameter in command.params:
            words = getattr(parameter, "help", None)
            assert words, f"{name}: {parameter.name} has no help"
            shown = Text.from_markup(words).plain
            assert shown == words.replace("\\[", "["), f"{name}: rich eats a part of the help of {parameter.name}"
        seen += 1
    assert seen > 20


def test_help_shows_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["review", "--help"]) == 0
    assert "Example: repaint-batch review ./restored" in " ".join(capsys.readouterr().out.split())


def completed(*words: str) -> list[str]:
    """Return what bash would offer after these words."""
    asked = {"_REPAINT_BATCH_COMPLETE": "complete_bash", "COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    program = "import sys; sys.argv = ['repaint-batch']; from repaint_batch.cli import main; main()"
    answer = subprocess.run([sys.executable, "-c", program], env={**os.environ, **asked}, capture_output=True, text=True)
    return answer.stdout.split()


def test_the_shell_completes_commands_and_options() -> None:
    assert completed("repaint-batch", "re") == ["retry-failed", "report", "review", "replay"]
    assert completed("repaint-batch", "retry-failed", "--rej") == ["--rejected"]
    assert "--quick" in completed("repaint-batch", "dev", "bench", "--q"), "although its module is imported when it is asked for"


def test_paths_settings_and_presets_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("restored/jobs", "restored/results", "pictures"):
        Path(name).mkdir(parents=True)
    Path("job.yaml").touch()
    assert options.complete_output("") == ["pictures/", "restored"], "an output, and a folder to look into"
    assert options.complete_output("re") == ["restored"]
    assert options.complete_config(f"{tmp_path}/") == [f"{tmp_path}/{name}" for name in ("job.yaml", "pictures/", "restored")]
    assert options.complete_setting("sampler.p") == ["sampler.preset="]
    assert options.complete_setting("sampler.preset=b") == ["sampler.preset=best", "sampler.preset=balanced"]
    assert options.complete_setting("compute.compile=") == ["compute.compile=false", "compute.compile=true"]
    assert options.complete_setting("storage.region=") == options.complete_setting("nothing=") == []
    assert dev.complete_preset("pre") == ["preview"]


def test_what_scripts_read_documents_its_exit_codes() -> None:
    found = {name: command for name, command in commands() if any("--json" in one.opts for one in command.params)}
    assert set(found) >= {"check", "run", "status", "stop", "retry-failed", "night", "export", "verify", "replay", "clean"}
    assert [name for name, command in found.items() if "Exit code: " not in (command.help or "")] == []


@pytest.mark.parametrize(("before", "now"), [*cli.RENAMED.items()])
def test_old_names_say_the_new_ones(before: str, now: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([before, "--no-such-option"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"`{before}` is now `{' '.join(now)}`")
    assert "No such option" in said.err
    cli.run(["--help"])
    assert not re.search(rf"│ {before} ", capsys.readouterr().out)
