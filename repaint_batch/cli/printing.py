"""Where commands print: words for people, and one JSON object for scripts.

With ``--json`` the words go to standard error, so that standard output holds the object and nothing else.
"""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

console = Console(soft_wrap=True, highlight=False)
"""Every command's."""


def words_to_stderr(as_json: bool) -> bool:
    """Send the words to standard error if standard output is to hold JSON; return `as_json`."""
    console.stderr = as_json
    return as_json


AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; words go to standard error.", callback=words_to_stderr)
]


def answer(as_json: bool, values: dict[str, Any]) -> None:
    """Print what a command found as one JSON object, if that is asked for."""
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False, default=str))
