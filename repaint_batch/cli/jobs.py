"""Commands over jobs: plan, run, status, resume, retry-failed."""

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.options import Endpoint, OutputUri, Region, overridden, reached
from repaint_batch.cli.report import offer_report
from repaint_batch.config import JobConfig, load_config
from repaint_batch.report.progress import Progress
from repaint_batch.results.dead_letters import retry_configs
from repaint_batch.results.plan import Plan, load_plans
from repaint_batch.results.reviews import count_verdicts, redo_configs
from repaint_batch.results.status import (
    DeviceStatus,
    OutputStatus,
    StatusFeed,
    no_holes,
    no_holes_reason,
    read_device_status,
    read_status,
)
from repaint_batch.storage import Storage

console = Console(soft_wrap=True, highlight=False)
_WATCH_S = 2.0

ConfigPath = Annotated[str, typer.Argument(help="YAML file of the job, e.g. configs/restore-local.yaml.")]


def plan(config: ConfigPath) -> None:
    """Show what a job would do: rows, shards, network evaluations a window. Nothing is written or run.

    Example: repaint-batch plan configs/restore-local.yaml
    """
    from repaint_batch.pipeline.run import plan_job
    from repaint_batch.sampler.presets import PRESETS

    job = load_config(config, JobConfig)
    made, manifest, prior = plan_job(job, Storage(job.storage))
    sampler = ", ".join(f"{name} {value}" for name, value in made.sampler.items())
    facts = {
        "job": made.job_id,
        "manifest": f"{job.input.manifest}: {made.rows:,} rows in {len(manifest.files)} files",
        "shards": f"{made.shards:,} of {made.shard_rows} rows",
        "prior": f"{job.prior.source}: {prior.resolution_px} px, fingerprint {made.prior_fingerprint}",
        "sampler": f"{job.sampler.preset}: {sampler}",
        "cost": f"{PRESETS[job.sampler.preset].nfe * job.sampler.candidates:,} network evaluations a window",
        "output": f"{job.output.uri} (images: {job.output.images}, format: {job.output.format})",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[dim]{name}[/]", value)
    console.print(table)
    for note in manifest.notes:
        console.print(f"[dim]{escape(note)}[/]")


def run(config: ConfigPath) -> None:
    """Restore a corpus; go on where an earlier run of the same job stopped.

    Example: repaint-batch run configs/restore-local.yaml
    """
    _run(load_config(config, JobConfig))


def resume(output: OutputUri, endpoint_url: Endpoint = None, region: Region = None) -> None:
    """Go on with the jobs of an output that were stopped, killed or failed.

    Example: repaint-batch resume s3://corpus/restored
    """
    storage = reached(output, endpoint_url, region)
    read_status(output, storage)  # refuses an output without a job
    code = 0
    for unfinished in load_plans(output, storage):
        code = max(code, _execute(_from_here(unfinished.job_config(), endpoint_url, region), unfinished.retry_of))
    raise typer.Exit(code)


def retry_failed(
    output: OutputUri,
    rejected: Annotated[bool, typer.Option("--rejected", help="Instead, the pictures that a review wants redone.")] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Run exactly the failed rows again; their new rows replace the old ones.

    With --rejected it is the pictures that `repaint-batch review` wants redone, with the seed and preset asked for there.

    Example: repaint-batch retry-failed s3://corpus/restored
    """
    storage = reached(output, endpoint_url, region)
    status = read_status(output, storage)
    if not status.finished:
        console.print("[yellow]some shards are not done yet; `repaint-batch resume` runs them[/]")
    configs = redo_configs(output, storage) if rejected else retry_configs(output, storage)
    if not configs:
        console.print(f"nothing is to be redone; {_reviewed(output, storage)}" if rejected else "no failed rows")
        return
    code = 0
    for config, before in configs:
        code = max(code, _execute(_from_here(config, endpoint_url, region), before.job_id))
    raise typer.Exit(code)


def status(
    output: OutputUri,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    watch: Annotated[bool, typer.Option(help="Look again every two seconds until all is done.")] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Show how far an output is: ok + skipped + failed + missing = rows of the manifest.

    Exit code: 0 all rows ok or skipped, 3 finished with failed rows or with none that had a hole, 1 rows are missing.

    Example: repaint-batch status ./restored --watch
    """
    storage = reached(output, endpoint_url, region)
    feed = StatusFeed(output, storage)

    def device_of(found: OutputStatus) -> DeviceStatus | None:
        return read_device_status(output, found.current, storage)

    found = feed.status
    device = device_of(found)
    if watch and not as_json:
        with Live(_status_table(found, device), console=console, auto_refresh=False) as live:
            while not found.finished:
                time.sleep(_WATCH_S)
                found = feed.poll()
                device = device_of(found)
                live.update(_status_table(found, device), refresh=True)
    elif as_json:
        typer.echo(json.dumps(_status_json(found, device)))
    else:
        console.print(_status_table(found, device))
    raise typer.Exit(found.exit_code)


def _reviewed(output: str, storage: Storage) -> str:
    """Return in words what a review has decided so far."""
    counts = count_verdicts(output, storage)
    return f"reviewed: {counts['accept']:,} accepted, {counts['reject']:,} rejected, {counts['redo']:,} to redo"


def _run(config: JobConfig) -> None:
    raise typer.Exit(_execute(config, None))


def _execute(config: JobConfig, retry_of: str | None) -> int:
    """Run a job, say what it did, and return its exit code."""
    # Ray and torch take seconds to import: only those who run a job wait for them.
    from repaint_batch.pipeline.run import run_job

    summary = run_job(config, progress, retry_of=retry_of)
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.counts.items())
    if summary.shards_run == 0:
        console.print(f"job {summary.plan.job_id} was already finished: {counts}; 0 network evaluations")
    else:
        rate = f"{summary.nfe:,} network evaluations, {summary.seconds:.0f} s"
        console.print(f"job {summary.plan.job_id} finished: {counts}; {rate}; results in {config.output.uri}")
    for note in summary.notes:
        console.print(f"[dim]{escape(note)}[/]")
    if summary.counts["failed"]:
        console.print(f"{summary.counts['failed']} rows failed; `repaint-batch retry-failed {config.output.uri}` runs them again")
    if no_holes(summary.counts):
        console.print(no_holes_reason(config.images.hole))
    where = offer_report(config.output.uri, Storage(config.storage)) if summary.shards_run else None
    if where:
        console.print(f"report: {escape(where)}")
    return summary.exit_code


def progress(plan: Plan, rows_done: int, shards_done: int) -> Progress:
    """Return the live progress of a job."""
    return Progress(plan.rows, plan.shards, done_rows=rows_done, done_shards=shards_done, console=console)


def _from_here(config: JobConfig, endpoint_url: str | None, region: str | None) -> JobConfig:
    return config.model_copy(update={"storage": overridden(config.storage, endpoint_url, region)})


def _status_table(found: OutputStatus, device: DeviceStatus | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "planned", "rows", "shards", "what"):
        table.add_column(heading, justify="right" if heading in ("rows", "shards") else "left")
    for job in found.jobs:
        again = f"retry of {job.plan.retry_of}" if job.plan.retry_of else "restore"
        what = again if job.plan.listed is None else "night"
        shards, rows = f"{job.shards_done:,}/{job.plan.shards:,}", f"{job.rows_done:,}/{job.plan.rows:,}"
        table.add_row(job.plan.job_id, job.plan.created_at[:19], rows, shards, what)
    counts = f"[green]{found.ok:,} ok[/], {found.skipped:,} skipped, [red]{found.failed:,} failed[/], {found.missing:,} missing"
    table.caption = f"{counts} of {found.rows:,} rows"
    if device is not None:
        table.caption += f"\n{_device_words(device)}"
    table.caption_justify = "left"
    return table


def _device_words(device: DeviceStatus) -> str:
    shares = f"{device.slots_used:.0%} of slots in use, device waits {device.device_waits:.0%} of the time"
    return f"{shares}, {device.windows_waiting:,} windows waiting, {device.parcels:,} parcels in flight (job {device.job_id})"


def _status_json(found: OutputStatus, device: DeviceStatus | None) -> dict[str, object]:
    return {
        "finished": found.finished,
        **{name: getattr(found, name) for name in ("rows", "ok", "skipped", "failed", "missing")},
        "jobs": [
            {
                "job_id": job.plan.job_id,
                "retry_of": job.plan.retry_of,
                "rows": job.plan.rows,
                "rows_done": job.rows_done,
                "shards": job.plan.shards,
                "shards_done": job.shards_done,
            }
            for job in found.jobs
        ],
        "device": None if device is None else asdict(device),
    }
