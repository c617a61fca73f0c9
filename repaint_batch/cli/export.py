"""The command that takes pictures, or failed rows, out of an output: export."""

from typing import Annotated

import typer
from rich.markup import escape

from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import load_plans
from repaint_batch.outputs.dead_letters import write_dead_letters
from repaint_batch.outputs.export import ExportFormat, Names
from repaint_batch.outputs.export import export as export_pictures
from repaint_batch.storage import Storage


def export(
    output: OutputUri,
    to: Annotated[str, typer.Option(help="Empty folder or s3:// prefix to write to; with --failed, NAME.parquet.")],
    format: Annotated[ExportFormat, typer.Option(help="One file per picture, a Hugging Face set, or tar shards.")] = "folder",
    names: Annotated[Names, typer.Option(help="Name files by sample_id, or by the key of their source.")] = "id",
    accepted: Annotated[bool, typer.Option("--accepted", help="Write only pictures that a review has accepted.")] = False,
    masks: Annotated[bool, typer.Option("--masks", help="Add a mask to each picture, white where it was restored.")] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Write the failed rows instead, as a manifest that says why each failed.")
    ] = False,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Write the restored pictures of an output as plain files, Parquet or WebDataset.

    --masks adds a mask to every picture: a file PICTURE.mask.png, a column `mask` of Parquet, a member of WebDataset.
    --failed writes the failed rows as a manifest: repair their pictures and masks, and run it as a job of its own.

    Exit code: 0 done; 2 it cannot be written like that, or not there; 1 anything else.

    Example: repaint-batch export ./restored --to ./pictures --accepted
    """
    storage = reached(output, endpoint_url, region)
    if failed:
        if format != "folder" or names != "id" or accepted or masks:
            raise ConfigError("--failed writes one manifest: leave out --format, --names, --accepted and --masks")
        answer(as_json, {"failed_rows": _write_failed(output, to, storage)})
        return
    with waiting("exporting"):
        done = export_pictures(output, to, storage, format=format, names=names, accepted=accepted, masks=masks)
    left_out = f"; {done.left_out:,} failed rows have none" if done.left_out else ""
    left_out += f"; {done.not_accepted:,} are not accepted" if done.not_accepted else ""
    size = f"{done.bytes / 2**20:,.1f} MiB"
    console.print(f"{done.pictures:,} pictures, {size}, in {done.objects:,} files at {escape(to)}{left_out}")
    told = {"pictures": done.pictures, "files": done.objects, "bytes": done.bytes}
    answer(as_json, {"to": to, **told, "failed_rows": done.left_out, "not_accepted": done.not_accepted})


def _write_failed(output: str, to: str, storage: Storage) -> int:
    plans = load_plans(output, storage)
    count = write_dead_letters(output, to, storage) if plans else 0
    if count:
        console.print(f"{count:,} failed rows in {escape(to)}; a job that runs it needs {escape(plans[0].base)} in storage.allow")
    else:
        console.print("no failed rows; nothing is written")
    return count
