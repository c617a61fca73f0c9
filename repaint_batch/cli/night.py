"""The command over a corpus that changes: night."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from repaint_batch.cli.jobs import around_progress
from repaint_batch.cli.options import ConfigPath, Settings
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.report import offer_report
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import load_config
from repaint_batch.errors import Interrupted
from repaint_batch.outputs.writing import check_writable
from repaint_batch.priors.source import check_named
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.nights.night import NightSummary


def night(config: ConfigPath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Restore what is new or changed in a folder of pictures, and remove the rows of pictures that are gone.

    A summary of every night is kept in OUTPUT/nights/.

    Exit code: 0 done, or the deadline was reached; 3 more rows failed than night.most_failed allows, or no mask has a hole; 4
    stopped before the end; 2 a config or corpus that cannot be honoured; 130 interrupted by Ctrl-C; 1 anything else.

    Example: repaint-batch night configs/nightly-local.yaml
    """
    from repaint_batch.nights.config import NightConfig

    asked = load_config(config, NightConfig, settings or ())  # before what takes seconds to import
    check_named(asked.prior.source, asked.prior.revision)
    storage = Storage(asked.storage)
    with waiting("looking at the corpus and the output"):
        for folder in filter(None, (asked.corpus.images, asked.corpus.masks)):
            storage.check_bucket(folder)
        check_writable(asked.output.uri, storage)
    with waiting("loading Ray and torch"):
        from repaint_batch.nights.night import run_night

    try:
        with around_progress("comparing the corpus with its results", "settling what ran, and looking for more") as begun:
            done = run_night(asked, begun, offer_report)
    except KeyboardInterrupt:
        raise Interrupted("nothing is lost; the next night goes on") from None
    _print(done)
    answer(as_json, asdict(done))
    raise typer.Exit(done.exit_code)


def _print(done: "NightSummary") -> None:
    """Say what a night did, and what to look at."""
    from repaint_batch.nights.night import NAMED

    ran, skipped = (_words(counts) or "nothing" for counts in (done.ran, done.skipped))
    console.print(f"night {done.night}: {done.listed:,} pairs; to run: {ran}; not to run: {skipped}")
    lone = {"pictures without a mask": done.unpaired_pictures, "masks without a picture": done.unpaired_masks}
    others = {**lone, "rows removed because their picture or mask is gone": done.removed}
    others["rows run with the mask that a review has corrected"] = done.corrected
    others["corrected masks are for earlier versions of their pictures"] = done.earlier_masks
    if any(others.values()):
        console.print(_words({name: count for name, count in others.items() if count}))
    if done.jobs:
        cost = "" if done.cost is None else f", cost {done.cost:,.2f}"
        spent = f"{done.nfe:,} network evaluations, {done.actor_hours:.3f} actor-hours{cost}"
        console.print(f"ran: {_words(done.rows)}; {spent}; {done.seconds:.0f} s")
    for why, names in done.named.items():
        console.print(f"{escape(why)}: {escape(', '.join(names))}{', ...' if len(names) == NAMED else ''}")
    if done.worst:
        console.print("likeliest wrong, worst first:")
    for row in done.worst:
        why = f", because {row['risk_reason']}" if row["risk_reason"] else ""
        console.print(f"  {escape(row['sample_id'])}: risk {row['risk']:.2f}{why}")
    for file in filter(None, (done.left_out, done.failed)):
        console.print(f"all names: {escape(file)}")
    if done.error:
        console.print(escape(done.error))
    if done.ended == "deadline":
        console.print("[yellow]the deadline came before the end; the next night goes on from here[/]")
    if done.version != done.version_before and done.version_before is not None:
        undo = f"repaint-batch rollback {done.output} --to {done.version_before}"
        console.print(f"to undo this night: {escape(undo)}")
    if done.report:
        console.print(f"report: {escape(done.report)}")


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
