"""Commands over an output's versions: history and rollback."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.outputs.history import Change, read_history
from repaint_batch.outputs.history import rollback as roll_back

console = Console(soft_wrap=True, highlight=False)


def history(output: OutputUri, endpoint_url: Endpoint = None, region: Region = None) -> None:
    """Show what became of an output, and the versions to which `rollback` can return.

    Example: repaint-batch history s3://corpus/restored
    """
    changes = read_history(output, reached(output, endpoint_url, region))
    table = Table(box=None, pad_edge=False)
    for heading in ("version", "when (UTC)", "what"):
        table.add_column(heading, justify="right" if heading == "version" else "left")
    for change in changes:
        style = None if change.is_whole else "dim"
        gone = "" if change.is_whole else "; its files are given up, no way back to it"
        table.add_row(f"{change.last:,}", f"{change.at:%Y-%m-%d %H:%M:%S}", escape(_what(change) + gone), style=style)
    console.print(table)


def rollback(
    output: OutputUri,
    to: Annotated[int, typer.Option(min=0, help="Version to return to, from `repaint-batch history`.")],
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Make an output what it was at an earlier version: its rows, the files they point to, and what is pending.

    Nothing is lost: the way back forth is another rollback. Jobs of which nothing is left are withdrawn, so that `resume` does
    not run them again; a night does, unless its config is put right.

    Example: repaint-batch rollback s3://corpus/restored --to 41
    """
    done = roll_back(output, to, reached(output, endpoint_url, region))
    counts = ", ".join(f"{count:,} {name}" for name, count in done.counts.items())
    console.print(f"{escape(output)} is again what it was at version {to}: {counts} (version {done.version})")
    for jobs, became in ((done.withdrawn, "withdrawn"), (done.reinstated, "stand again")):
        if jobs:
            console.print(f"jobs {became}: {', '.join(jobs)}")


def _what(change: Change) -> str:
    if change.what == "job":
        failed = f", {change.failed:,} of them failed" if change.failed else ""
        return f"job {change.job_id}: {change.rows:,} rows{failed}"
    if change.what == "rollback":
        return f"rolled back to version {change.to:,}"
    if change.what == "removal":
        return f"{change.removed:,} rows removed, whose pictures are deleted"
    return {"created": "created", "upkeep": "upkeep of the table"}[change.what]
