"""Commands over jobs: plan, run, status, resume, retry-failed."""

import contextlib
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.options import Endpoint, OutputUri, Region, overridden, reached
from repaint_batch.cli.report import offer_report
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import JobConfig, load_config
from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import Plan
from repaint_batch.manifest import Manifest, open_manifest
from repaint_batch.outputs.dead_letters import failures, retry_configs
from repaint_batch.outputs.reviews import count_verdicts, redo_configs
from repaint_batch.outputs.standing import added, retried, standing, told
from repaint_batch.outputs.status import (
    DeviceStatus,
    OutputStatus,
    StatusFeed,
    no_holes,
    no_holes_reason,
    read_device_status,
    read_status,
)
from repaint_batch.priors.source import check_named
from repaint_batch.report.progress import Progress
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.pipeline.run import Planned

console = Console(soft_wrap=True, highlight=False)
_WATCH_S = 2.0
_KINDS_TOLD = 3  # classes of error of which a summary shows an example

ConfigPath = Annotated[str, typer.Argument(help="YAML file of the job, e.g. configs/restore-local.yaml.")]


def plan(config: ConfigPath) -> None:
    """Show what a job would do: rows, shards, network evaluations a window. Nothing is written or run.

    Example: repaint-batch plan configs/restore-local.yaml
    """
    job = load_config(config, JobConfig)
    storage = Storage(job.storage)
    made, manifest, prior = _planned(job, storage)
    from repaint_batch.sampler.presets import sampler_of

    nfe = sampler_of(job.sampler.preset, job.sampler.num_steps, job.sampler.own).nfe
    sampler = ", ".join(f"{name} {value}" for name, value in made.sampler.items())
    facts = {
        "job": made.job_id,
        "manifest": f"{job.input.manifest}: {made.rows:,} rows in {len(manifest.files)} files",
        "shards": f"{made.shards:,} of {made.shard_rows} rows",
        "prior": f"{job.prior.source}: {prior.resolution_px} px, fingerprint {made.prior_fingerprint}",
        "sampler": f"{job.sampler.own or job.sampler.preset}: {sampler}",
        "cost": f"{nfe * job.sampler.candidates:,} network evaluations a window",
        "output": f"{job.output.uri} (images: {job.output.images}, format: {job.output.format})",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[dim]{name}[/]", value)
    console.print(table)
    for note in manifest.notes:
        console.print(f"[dim]{escape(note)}[/]")
    found = standing(made, manifest, storage)
    if found.is_refused:
        raise ConfigError(f"run would refuse this: {found.words(config)}")
    if found.words(config):
        console.print(escape(found.words(config)))


def _planned(job: JobConfig, storage: Storage) -> "Planned":
    """Return a job's plan, manifest and prior; what is wrong with the names of these is found before torch is loaded."""
    manifest = looked_up(job, storage)
    with waiting("loading torch and the prior"):
        from repaint_batch.pipeline.run import plan_job

        return plan_job(job, storage, manifest=manifest)


def looked_up(job: JobConfig, storage: Storage) -> Manifest:
    """Return a job's manifest, once its prior is found to have a name.

    Raises:
        ManifestError, PriorError: one of them cannot be used.
    """
    check_named(job.prior.source, job.prior.revision)
    return open_manifest(job.input.manifest, storage)


def run(config: ConfigPath) -> None:
    """Restore a corpus; go on where an earlier run of the same job stopped, and add the rows that its manifest has grown by.

    Example: repaint-batch run configs/restore-local.yaml
    """
    job = load_config(config, JobConfig)
    storage = Storage(job.storage)
    planned = _planned(job, storage)
    plan, manifest, _ = planned
    found = standing(plan, manifest, storage)
    if found.is_grown:
        console.print(f"the manifest has {len(found.new):,} rows more than {escape(found.output)} holds: they are added")
        larger, before, listed = added(plan, manifest, found, storage)
        raise typer.Exit(_execute(larger, before, listed=listed, config_path=config))
    if found.is_settled:
        console.print(f"{escape(found.words(config))}; nothing is left to do")
        raise typer.Exit(read_status(found.output, storage).exit_code)
    if found.is_refused:
        if not (found.failed and sys.stdin.isatty()):
            raise ConfigError(found.words(config))
        console.print(f"[yellow]{escape(found.words(config))}[/]")
        typer.confirm(f"run the {found.failed:,} failed rows under these settings now?", abort=True)
        raise typer.Exit(_retry(found.output, storage, job, config))
    raise typer.Exit(_execute(job, None, planned=planned, config_path=config))


def resume(output: OutputUri, endpoint_url: Endpoint = None, region: Region = None) -> None:
    """Go on with the jobs of an output that were stopped, killed or failed.

    Example: repaint-batch resume s3://corpus/restored
    """
    storage = reached(output, endpoint_url, region)
    found = read_status(output, storage)
    code = found.exit_code if found.finished else 0
    for job in found.jobs:
        if job.rows_done == job.plan.rows:
            console.print(f"job {job.plan.job_id} was already finished; 0 network evaluations")
            continue
        plan = job.plan
        code = max(code, _execute(_from_here(plan.job_config(), endpoint_url, region), plan.retry_of, listed=plan.listed))
    if found.finished:
        counts = {"ok": found.ok, "skipped": found.skipped, "failed": found.failed}
        console.print(f"{escape(output)} holds {', '.join(f'{count:,} {name}' for name, count in counts.items())}")
        if no_holes(counts):
            console.print(no_holes_reason(found.jobs[-1].plan.job_config().images.hole))
    raise typer.Exit(code)


def retry_failed(
    output: OutputUri,
    rejected: Annotated[bool, typer.Option("--rejected", help="Instead, the pictures that a review wants redone.")] = False,
    config: Annotated[str | None, typer.Option(help="Under the settings of this job's YAML; what is good stays.")] = None,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Run exactly the failed rows again; their new rows replace the old ones.

    What failed by a setting fails again, unless --config brings another one. With --rejected it is the pictures that
    `repaint-batch review` wants redone, with the seed and preset asked for there.

    Example: repaint-batch retry-failed s3://corpus/restored --config job.yaml
    """
    if rejected and config:
        raise ConfigError("give one of --rejected and --config: a redo has the settings that the review asked for")
    settings = None if config is None else _from_here(load_config(config, JobConfig), endpoint_url, region)
    storage = reached(output, endpoint_url, region) if settings is None else Storage(settings.storage)
    status = read_status(output, storage)
    if not status.finished:
        console.print("[yellow]some shards are not done yet; `repaint-batch resume` runs them[/]")
    if not rejected:
        raise typer.Exit(_retry(output, storage, settings, config, endpoint_url, region))
    configs = redo_configs(output, storage)
    if not configs:
        console.print(f"nothing is to be redone; {_reviewed(output, storage)}")
    redone = [_execute(_from_here(redo, endpoint_url, region), before.job_id) for redo, before in configs]
    raise typer.Exit(max(redone, default=0))


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


def _retry(
    output: str,
    storage: Storage,
    settings: JobConfig | None,
    config_path: str | None,
    endpoint_url: str | None = None,
    region: str | None = None,
) -> int:
    """Run failed rows again, under `settings` if there are any; return the exit code."""
    configs = retry_configs(output, storage, settings)
    if not configs:
        console.print("no failed rows")
        return 0
    if settings is not None:
        counts = read_status(output, storage)
        for config, before in configs:
            failed = open_manifest(config.input.manifest, storage).rows
            for line in told(before, retried(output, before, settings)[1], failed, counts.ok + counts.skipped):
                console.print(escape(line))
    return max(
        _execute(_from_here(config, endpoint_url, region), before.job_id, config_path=config_path) for config, before in configs
    )


def _execute(
    config: JobConfig,
    retry_of: str | None,
    *,
    listed: int | None = None,
    planned: "Planned | None" = None,
    config_path: str | None = None,
) -> int:
    """Run a job, say what it did, and return its exit code."""
    # Ray and torch take seconds to import: only those who run a job wait for them.
    with waiting("loading Ray and torch"):
        from repaint_batch.pipeline.run import run_job

    with contextlib.ExitStack() as starting:
        starting.enter_context(waiting("starting Ray, and looking at some rows"))

        def begun(plan: Plan, rows_done: int, shards_done: int) -> Progress:
            starting.close()
            return progress(plan, rows_done, shards_done)

        summary = run_job(config, begun, retry_of=retry_of, listed=listed, planned=planned)
    holds = f"{escape(config.output.uri)} holds {', '.join(f'{count:,} {name}' for name, count in summary.counts.items())}"
    if summary.shards_run == 0:
        console.print(f"job {summary.plan.job_id} was already finished; 0 network evaluations; {holds}")
    else:
        ran = f"{summary.rows_run:,} rows ran in {summary.seconds:.0f} s, {summary.nfe:,} network evaluations"
        console.print(f"job {summary.plan.job_id} finished: {ran}; {holds}")
    for note in summary.notes:
        console.print(f"[dim]{escape(note)}[/]")
    if summary.counts["failed"]:
        for line in _failed_words(config, config_path):
            console.print(escape(line))
    if no_holes(summary.counts):
        console.print(no_holes_reason(config.images.hole))
    with waiting("writing the report"):
        where = offer_report(config.output.uri, Storage(config.storage)) if summary.shards_run else None
    if where:
        shown = f" (`repaint-batch report {config.output.uri} --serve` shows it)" if where.startswith("s3://") else ""
        console.print(escape(f"report: {where}{shown}"))
    return summary.exit_code


def _failed_words(config: JobConfig, config_path: str | None) -> list[str]:
    """Return which rows of an output failed, why, and what to type."""
    output, kinds = config.output.uri, failures(config.output.uri, Storage(config.storage))
    lines = [
        f"failed: {kind.rows:,} {kind.error_class}, {'as' if kind.rows > 1 else 'of'} {kind.sample_id}: {kind.reason}"
        for kind in kinds[:_KINDS_TOLD]
    ]
    more = sum(kind.rows for kind in kinds[_KINDS_TOLD:])
    lines += [f"and {more:,} more; `repaint-batch dead-letters {output} --to failed.parquet` names all"] if more else []
    under = config_path or "job.yaml"
    return [*lines, f"mend pictures, masks or settings, then `repaint-batch retry-failed {output} --config {under}`"]


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
        what = f"retry of {job.plan.retry_of}" if job.plan.retry_of else "restore"
        if job.plan.listed is not None:
            what = f"added to {job.plan.retry_of}" if "/added/" in job.plan.config["input"]["manifest"] else "night"
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
