"""Help: an example for every command, which that command would take; completion in the shell."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text

from repaint_batch import cli


def commands() -> Iterator[tuple[str, Any]]:
    for name in cli._HEAVY:
        cli._load(name)
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
    assert completed("repaint-batch", "re") == ["resume", "retry-failed", "report", "review", "replay"]
    assert completed("repaint-batch", "retry-failed", "--rej") == ["--rejected"]
    assert "--quick" in completed("repaint-batch", "bench", "--q"), "although its module is imported only when it is asked for"
