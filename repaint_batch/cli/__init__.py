"""The command line: parsing, exit codes, printing. Everything else is below.

Exit codes: 0 all rows are ok or skipped; 3 all is done, but rows failed or no mask had a hole; 2 a config, manifest or argument
that cannot be honoured; 4 stopped before the end, as by `repaint-batch stop` or `ray job stop`; 130 interrupted by Ctrl-C; 1
anything else.
"""

import contextlib
import errno
import os
import platform
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TextIO

import typer
from deltalake.exceptions import DeltaError
from rich.console import Console
from rich.markup import escape

from repaint_batch import __version__
from repaint_batch.cli import (
    check,
    config,
    demo,
    dev,
    export,
    history,
    jobs,
    manifest,
    masks,
    night,
    prior,
    report,
    review,
    status,
    upkeep,
)
from repaint_batch.cli.printing import words_to_stderr
from repaint_batch.cli.waiting import waiting
from repaint_batch.errors import ConfigError, Interrupted, ManifestError, NoBucket, RepaintBatchError, Stopped, redact
from repaint_batch.patience import interrupted_everywhere
from repaint_batch.storage import no_space

_MOST_WORDS = 500
_INTERRUPTED = 130
_ERROR = "[bold red]error:[/]"
_ENDS: dict[type[RepaintBatchError], tuple[int, str]] = {
    Interrupted: (_INTERRUPTED, "[yellow]interrupted:[/]"),
    Stopped: (4, "[yellow]stopped:[/]"),
    ConfigError: (2, _ERROR),
    ManifestError: (2, _ERROR),
    NoBucket: (2, _ERROR),
    RepaintBatchError: (1, _ERROR),
}
"""Exit codes of errors, and what stands before their words; the first that fits counts."""

app = typer.Typer(
    name="repaint-batch",
    help="Restore image corpora with diffusion priors: RePaint on Ray Data, exactly once, into a Delta table.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_PANELS: dict[str, tuple[Callable[..., Any] | typer.Typer, ...]] = {
    "Before a job": (demo.demo, manifest.app, masks.app, prior.app, config.config, check.check),
    "Jobs": (jobs.run, status.status, jobs.stop, jobs.retry_failed, night.night),
    "Results": (report.report, review.review, export.export, upkeep.verify, upkeep.replay),
    "Upkeep": (history.history, history.rollback, upkeep.clean),
    "Development": (dev.app,),
}
for panel, commands in _PANELS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(command)

RENAMED: dict[str, tuple[str, ...]] = {
    "plan": ("check",),
    "resume": ("run",),
    "dead-letters": ("export", "--failed"),
    "bench": ("dev", "bench"),
    "evaluate": ("dev", "evaluate"),
    "schedule": ("dev", "schedule"),
}
"""Names that commands had before 1.0, and what they are called now; understood for one version more."""


def _said(version: bool) -> None:
    if version:
        typer.echo(f"repaint-batch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_said, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors of this package become one message and an exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with `arguments` and return its exit code."""
    errors = Console(stderr=True, soft_wrap=True)
    words_to_stderr(False)
    if arguments and (now := RENAMED.get(arguments[0])):
        errors.print(f"`{arguments[0]}` is now `{' '.join(now)}`; the old name goes with the next version", highlight=False)
        arguments = [*now, *arguments[1:]]
    # A shell that asks for completions tells what has been typed so far in a variable.
    typed = arguments or os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]
    if typed[:1] == ["dev"] and typed[1:2] and typed[1] in dev.HEAVY:
        with waiting("loading torch") if arguments else contextlib.nullcontext():
            dev.load(typed[1])
    try:
        with interrupted_everywhere(), warnings.catch_warnings():
            warnings.showwarning = _shown
            code = app(arguments, standalone_mode=False)
        if code == _INTERRUPTED:  # as typer answers Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except RepaintBatchError as error:
        (code, head), *_ = (said for kind, said in _ENDS.items() if isinstance(error, kind))
        tail = f" (exit code {code})" if isinstance(error, Stopped) else ""
        errors.print(f"{head} {escape(redact(str(error)))}{tail}", highlight=False)
        return code
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        errors.print("nothing was done")
        return 1
    except KeyboardInterrupt:
        errors.print("[yellow]interrupted:[/] nothing is lost; the same command goes on", highlight=False)
        return _INTERRUPTED
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):
            error.show()
            return int(error.exit_code)
        if (line := foreign(error)) is None:
            errors.print(escape(redact(traceback.format_exc().rstrip())), highlight=False)
            line = (
                f"this is a bug of repaint-batch {__version__}, on Python {platform.python_version()}: please report the lines "
                "above and the command to its maintainers; what was committed stays, and the same command goes on"
            )
        errors.print(f"[bold red]error:[/] {escape(redact(line))}", highlight=False)
        return 1


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say a warning of ours in one line, without the line of code that said it."""
    is_ours = "repaint_batch" in filename
    where = "" if is_ours else f" ({category.__name__} of {filename}:{lineno})"
    print(f"warning: {redact(str(message))}{where}", file=sys.stderr)


def foreign(error: Exception) -> str | None:
    """Return in one line what an error of a library says, where it is no bug of ours: of a disk, a file, the results table."""
    words = " ".join(str(error).split())[:_MOST_WORDS]
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in words or "os error 28" in words:
        where = getattr(error, "filename", None)
        return no_space(where) if isinstance(where, str) else f"no space left on a disk: {words}; make room and start this again"
    if isinstance(error, OSError) and isinstance(error.filename, str):
        return f"{error.filename}: {error.strerror or words}; check the path and its permissions"
    if isinstance(error, DeltaError):
        return f"the results table cannot be read or written: {words}; start this again, and see `repaint-batch verify`"
    return None
