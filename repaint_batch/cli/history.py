"""Commands over an output's versions: history and rollback."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.outputs.history import Change, read_history
from repaint_batch.outputs.history import rollback as roll_back


def history(output: OutputUri, as_json: AsJson = False, endpoint_url: Endpoint = None, region: Region = None) -> None:
    """Show what happened to an output, version by version; `rollback` can return to these versions.

    Exit code: 0 done; 1 anything else.

    Example: repaint-batch history s3://corpus/restored
    """
    storage = reached(output, endpoint_url, region)
    with waiting("reading the table's log"):
        changes = read_history(output, storage)
    table = Table(box=None, pad_edge=False)
    for heading in ("version", "when (UTC)", "what"):
        table.add_column(heading, justify="right" if heading == "version" else "left")
    for change in changes:
        style = None if change.is_whole else "dim"
        gone = "" if change.is_whole else "; its files are given up, no way back to it"
        table.add_row(f"{change.last:,}", f"{change.at:%Y-%m-%d %H:%M:%S}", escape(_what(change) + gone), style=style)
    versions = [
        {"version": change.last, "at": change.at.isoformat(), "what": _what(change), "can_return": change.is_whole}
        for change in changes
    ]
    answer(as_json, {"output": output, "versions": versions})
    if not as_json:
        console.print(table)


def rollback(
    output: OutputUri,
    to: Annotated[int, typer.Option(min=0, help="Version to return to, from `repaint-batch history`.")],
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Return an output to an earlier version: its rows, their files, and what is still to do.

    Nothing is lost: another rollback undoes this one. Jobs of which no row is left are withdrawn, so that `run OUTPUT` does not
    run them again. A night runs them again unless its config is put right.

    Exit code: 0 done; 2 there is no such version, or its files are gone; 1 anything else.

    Example: repaint-batch rollback s3://corpus/restored --to 41
    """
    storage = reached(output, endpoint_url, region)
    with waiting("looking for what that version needs, and going back to it"):
        done = roll_back(output, to, storage)
    counts = ", ".join(f"{count:,} {name}" for name, count in done.counts.items())
    console.print(f"{escape(output)} is back at version {to}: {counts} (version {done.version})")
    told = {"version": done.version, "withdrawn_jobs": list(done.withdrawn), "reinstated_jobs": list(done.reinstated)}
    answer(as_json, {"output": output, **done.counts, **told})
    for jobs, became in ((done.withdrawn, "withdrawn"), (done.reinstated, "reinstated")):
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
