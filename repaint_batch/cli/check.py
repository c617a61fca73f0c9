"""Commands around a job: a look before it, and its pictures out of the table after it."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.jobs import ConfigPath, looked_up
from repaint_batch.cli.options import Endpoint, OutputUri, Region, reached
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import JobConfig, load_config
from repaint_batch.errors import ConfigError
from repaint_batch.outputs.export import ExportFormat, Names
from repaint_batch.outputs.export import export as export_pictures
from repaint_batch.outputs.standing import standing
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.pipeline.dataset import ActorResources
    from repaint_batch.preflight import Cost, Speed
    from repaint_batch.preflight.findings import Findings
    from repaint_batch.priors.loaded import LoadedPrior

console = Console(soft_wrap=True, highlight=False)
_SHEET_PAIRS = 36
_TRIED_S = 60.0  # that --probe gives a preset


def check(
    config: ConfigPath,
    sample: Annotated[int, typer.Option(min=1, help="Rows to look at.")] = 200,
    every: Annotated[bool, typer.Option("--all", help="Look at every row; totals are exact then.")] = False,
    contact_sheet: Annotated[Path | None, typer.Option(help="PNG of random pairs with the hole tinted.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Time network calls on this machine, to tell hours and money.")] = False,
    seconds_per_window: Annotated[float | None, typer.Option(min=0, help="What an actor takes, every slot used.")] = None,
    images_per_second: Annotated[float | None, typer.Option(min=0, help="What an actor does, every slot used.")] = None,
) -> None:
    """Look at a job's pictures and masks before it runs: what would fail, what looks wrong, what it will cost.

    Exit code: 0 nothing would fail, 3 some rows would or no mask has a hole, 2 what `run` would refuse: every row looked at would
    fail, the output holds another job or may not be written, or the job is over compute.budget.

    Example: repaint-batch check configs/restore-local.yaml --all --contact-sheet pairs.png
    """
    job = load_config(config, JobConfig)
    if sum((probe, seconds_per_window is not None, images_per_second is not None)) > 1:
        raise ConfigError("give one of --probe, --seconds-per-window and --images-per-second")
    storage = Storage(job.storage)
    manifest = looked_up(job, storage)  # before what takes seconds to import
    with waiting("loading torch and the prior"):
        from repaint_batch.pipeline.run import plan_job, resources_here
        from repaint_batch.preflight import Speed, check_writable, cost_of, preflight, refuse_hopeless
        from repaint_batch.preflight import probe as time_probe

        plan, _, prior = plan_job(job, storage, manifest=manifest)
        resources = resources_here(job.compute)
        check_writable(job.output.uri, storage)
    found = standing(plan, manifest, storage)
    drawn = _SHEET_PAIRS if contact_sheet else 0
    with waiting("looking at pictures and masks"):
        findings = preflight(
            job, manifest, storage, None if every else sample, resolution_px=prior.resolution_px, drawn=drawn
        )
    given = seconds_per_window is not None or images_per_second is not None
    probe |= job.compute.budget is not None and not given  # as a run would
    with waiting("timing network calls"):
        speed = time_probe(job, storage, resources.threads if resources else None) if probe else None
    if seconds_per_window is not None:
        speed = Speed.of_window(seconds_per_window, job)
    elif images_per_second and findings.nfe:
        speed = Speed.of_evaluation(findings.rows / images_per_second / findings.nfe / job.sampler.candidates, job)
    # What a run would start here; on a cluster only that knows.
    actors = max(1, min(resources.most, manifest.rows)) if resources else job.compute.most_actors
    cost = cost_of(findings, job.model_copy(update={"compute": job.compute.model_copy(update={"actors": actors})}), speed,
                   prior.resolution_px)  # fmt: skip
    _print(findings, job)
    for note in manifest.notes:
        console.print(f"[dim]{escape(note)}[/]")
    with waiting("trying the prior in some pictures"):
        lines = _fit(prior, findings, job, ladder=probe)
    for line in lines:
        console.print(line)
    console.print(_facts(findings, job, cost, speed, resources, actors))
    if contact_sheet and findings.thumbnails:
        from repaint_batch.preflight.contact_sheet import contact_sheet as drawn_sheet

        contact_sheet.write_bytes(drawn_sheet(findings.thumbnails))
        console.print(f"contact sheet: {escape(str(contact_sheet))}")
    refuse_hopeless(findings)
    if cost.money is not None or job.compute.budget is not None:
        cost.check_budget(job)
    if found.is_refused:
        raise ConfigError(f"run would refuse this: {found.words(config)}")
    if found.words(config):
        console.print(escape(found.words(config)))
    raise typer.Exit(3 if findings.failing or findings.holeless else 0)


def _facts(
    findings: "Findings", job: JobConfig, cost: "Cost", speed: "Speed | None", resources: "ActorResources | None", actors: int
) -> Table:
    """Return what a job will take, as a table."""
    facts = Table.grid(padding=(0, 2))
    margin = f" ± {findings.windows_margin:,.0f}" if findings.windows_margin >= 0.5 else ""
    facts.add_row("windows", f"{cost.windows:,.0f}{margin}{'' if findings.whole else ' (estimated from the sample)'}")
    best_of = f", best of {job.sampler.candidates}" if job.sampler.candidates > 1 else ""
    facts.add_row("network evaluations", f"{cost.nfe:,.0f} ({job.sampler.preset}{best_of})")
    if speed is not None or job.compute.batch_windows != "auto":
        facts.add_row("network calls", f"{cost.calls:,.0f}, {cost.slots_used:.0%} of their slots in use")
    if cost.actor_hours is None or speed is None:
        facts.add_row("time", "--probe tells it, from a few network calls on this machine")
    else:
        kind = "GPU-hours" if (resources.num_gpus if resources else job.compute.num_gpus) else "actor-hours"
        facts.add_row(kind, f"{cost.actor_hours:,.2g} at {speed.call_s:.3g} s a call of {speed.batch_windows}")
        finish = cost.finish_at(datetime.now().astimezone())
        where = f"{actors} {'actor' if actors == 1 else 'actors'}" + ("" if resources else "; the cluster decides how many")
        facts.add_row("finish", f"{finish:%Y-%m-%d %H:%M}, if it starts now, with {where}, and half a minute to start them")
    if cost.money is not None:
        facts.add_row("money", f"{cost.money:,.2f} at {job.compute.price_per_gpu_hour:g} an hour")
    return facts


def _fit(prior: "LoadedPrior", findings: "Findings", job: JobConfig, *, ladder: bool) -> list[str]:
    """Return what a prior does in some of the pictures: a warning, and with the whole ladder the preset that is enough."""
    from repaint_batch.preflight.fitting import LADDER, QUICK_S, enough, try_prior

    fits = {}
    for preset in LADDER if ladder else LADDER[:1]:
        fit = try_prior(prior, findings.places, preset, _TRIED_S if ladder else QUICK_S)
        if fit is None or not fit.restored:
            break
        fits[preset] = fit
    if not fits:
        return []
    first, *_ = fits.values()
    lines = [f"[yellow]![/] {escape(warning)}" for warning in (first.warning(job.prior.source),) if warning]
    tried = ", ".join(f"{preset} {fit.restored_db:.1f} dB" for preset, fit in fits.items())
    lines.append(f"tried in {len(first.restored)} holes made in known pixels: {tried}; a smooth filling {first.smooth_db:.1f} dB")
    if len(fits) > 1:
        lines.append(f"sampler.preset: {enough(fits)} is enough there; dearer ones do no better beyond chance")
    return lines


def export(
    output: OutputUri,
    to: Annotated[str, typer.Option(help="Empty folder or s3:// prefix to write to.")],
    format: Annotated[ExportFormat, typer.Option(help="A file a picture, a Hugging Face data set, or tar shards.")] = "folder",
    names: Annotated[Names, typer.Option(help="Call files of a folder by the sample's id or its source's key.")] = "id",
    accepted: Annotated[bool, typer.Option("--accepted", help="Only pictures that a review has accepted.")] = False,
    masks: Annotated[bool, typer.Option("--masks", help="A mask beside each picture, white where it was restored.")] = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Write the restored pictures of an output as plain files, Parquet or WebDataset; the table stays as it is.

    With --masks a file PICTURE.mask.png lies beside each one, in Parquet a column `mask`, in WebDataset a member of the sample.

    Example: repaint-batch export ./restored --to ./pictures --accepted
    """
    storage = reached(output, endpoint_url, region)
    done = export_pictures(output, to, storage, format=format, names=names, accepted=accepted, masks=masks)
    left_out = f"; {done.left_out:,} failed rows have none" if done.left_out else ""
    left_out += f"; {done.not_accepted:,} are not accepted" if done.not_accepted else ""
    size = f"{done.bytes / 2**20:,.1f} MiB"
    console.print(f"{done.pictures:,} pictures, {size}, in {done.objects:,} files at {escape(to)}{left_out}")


def _print(findings: "Findings", job: JobConfig) -> None:
    of = "all" if findings.whole else f"{findings.looked:,} of"
    good = findings.looked - findings.failing
    console.print(f"{of} {findings.rows:,} rows looked at: [green]{good:,} can be restored[/], {findings.failing:,} would fail")
    console.print(f"holes: {findings.hole_fraction:.1%} of the pixels on average (images.hole: {job.images.hole})")
    for line in findings.warnings():
        console.print(f"[yellow]![/] {escape(line)}")
