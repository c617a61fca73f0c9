"""Commands that look after an output: verify, replay, clean."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.outputs.orphans import YOUNG_S, delete_orphans, find_orphans
from repaint_batch.outputs.verify import Verification
from repaint_batch.outputs.verify import verify as verify_output

_LISTED = 20
_TRACED = 8  # windows that a trace shows
_HOUR_S = 3600.0


def verify(
    output: OutputUri,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Read an output again, and compare the table with its plan and every picture with its hash and its source.

    Exit code: 0 no problems; 1 there are problems, or rows are missing.

    Example: repaint-batch verify s3://corpus/restored
    """
    storage = reached(output, endpoint_url, region)
    if as_json:
        with waiting("comparing"):
            found = verify_output(output, storage)
        answer(as_json, _verification_json(found))
    else:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("shards", total=None)
            found = verify_output(output, storage, lambda done, of: bar.update(task, completed=done, total=of))
        _print_verification(found)
    raise typer.Exit(found.exit_code)


def replay(
    output: OutputUri,
    sample_id: Annotated[str, typer.Argument(help="The sample_id of the row.")],
    trace: Annotated[
        Path | None, typer.Option(help="File to write that shows the sampling: an animated .gif, or a strip .png.")
    ] = None,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Restore one row again, in this process, and compare its bytes with the recorded ones; nothing is written.

    The bytes are equal on the same kind of machine with the same versions of the libraries. Another processor or GPU rounds
    differently.

    Exit code: 0 equal; 1 different, or anything else; 2 a row that has no bytes to compare.

    Example: repaint-batch replay ./restored picture-0001 --trace picture-0001.gif
    """
    # torch takes seconds to import: only those who replay wait for it.
    with waiting("loading torch"):
        from repaint_batch.pipeline.replay import replay as replay_row
        from repaint_batch.report.trace import Recorder, check_trace, write_trace

    recorders: list[Recorder] = []

    def record(positions: int, windows: int) -> Recorder:
        frames = 12 if trace and trace.suffix.lower() == ".png" else 60
        recorders.append(Recorder(positions, frames, pictures=min(windows, _TRACED)))
        return recorders[-1]

    if trace is not None:
        check_trace(trace)
    storage = reached(output, endpoint_url, region)
    with waiting("restoring the row again"):
        done = replay_row(output, sample_id, storage, record if trace is not None else None)
    if trace is not None and recorders:
        write_trace(recorders[0].arrays, trace)
        console.print(f"trace: {escape(str(trace))}")
    elif trace is not None:
        console.print("nothing was sampled, so there is no trace")
    hashes = {"recorded_sha256": done.row["output_sha256"], "sha256": done.again["output_sha256"]}
    answer(as_json, {"sample_id": sample_id, "equal": done.difference is None, "difference": done.difference, **hashes})
    if done.difference is None:
        console.print(f"{escape(sample_id)}: equal, {done.row['output_bytes']:,} bytes, sha256 {done.row['output_sha256']}")
        raise typer.Exit(0)
    console.print(f"{escape(sample_id)}: [red]different[/]: {escape(done.difference)}")
    console.print(f"recorded sha256 {done.row['output_sha256']}, now {done.again['output_sha256'] or 'none'}")
    raise typer.Exit(1)


def clean(
    output: OutputUri,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete these files; without this option they are only listed.")
    ] = False,
    older_than_hours: Annotated[float, typer.Option(min=0, help="Only files older than this.")] = YOUNG_S / _HOUR_S,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """List or delete files that nothing refers to: those of attempts that died, and traces of finished jobs.

    Files that any version of the table refers to stay. So does everything of a job that is not finished.

    Exit code: 0 done; 1 anything else.

    Example: repaint-batch clean ./restored --delete
    """
    storage = reached(output, endpoint_url, region)
    with waiting("looking for what nothing refers to"):
        orphans = find_orphans(output, storage, older_than_hours * _HOUR_S)
    for orphan in orphans.found[:_LISTED]:
        console.print(f"[dim]{orphan.kind:<10}[/] {orphan.size_bytes:>12,} {escape(orphan.uri)}")
    if len(orphans.found) > _LISTED:
        console.print(f"and {len(orphans.found) - _LISTED:,} more")
    if orphans.unfinished:
        console.print(f"left alone, because they may belong to an unfinished job: {', '.join(orphans.unfinished)}")
    if delete:
        with waiting("deleting"):
            delete_orphans(orphans.found, storage)
    objects = [{"kind": orphan.kind, "uri": orphan.uri, "bytes": orphan.size_bytes} for orphan in orphans.found]
    answer(as_json, {"deleted": delete, "objects": objects, "unfinished_jobs": list(orphans.unfinished)})
    if not orphans.found:
        console.print("nothing to clean")
        return
    counts, sizes = Counter[str](), Counter[str]()
    for orphan in orphans.found:
        counts[orphan.kind] += 1
        sizes[orphan.kind] += orphan.size_bytes
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    done = "deleted" if delete else "would delete (add --delete)"
    console.print(f"{done}: {sum(counts.values()):,} objects of {sum(sizes.values()):,} bytes: {kinds}")


def _print_verification(found: Verification) -> None:
    counts = ", ".join(f"{found.rows[status]:,} {status}" for status in ("ok", "skipped", "failed"))
    console.print(
        f"{found.rows.total():,} rows of {found.planned:,} planned: {counts}; {found.output_bytes:,} bytes read and hashed; "
        f"known pixels of {found.compared:,} pictures compared with their source's"
    )
    if not found.kinds:
        console.print("[green]no problems[/]")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("problem", "row", "what"):
        table.add_column(heading, overflow="fold")
    for problem in found.problems[:_LISTED]:
        table.add_row(problem.kind, escape((problem.sample_id or "")[:80]), escape(problem.message))
    console.print(table)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.most_common())
    console.print(f"[red]{found.kinds.total():,} problems[/]: {kinds}")


def _verification_json(found: Verification) -> dict[str, object]:
    problems = [{"kind": p.kind, "sample_id": p.sample_id, "message": p.message} for p in found.problems]
    return {
        "planned": found.planned,
        "rows": dict(found.rows),
        "output_bytes": found.output_bytes,
        "compared": found.compared,
        "problems": found.kinds.total(),
        "kinds": dict(found.kinds),
        "first_problems": problems,
    }
