"""The command that looks at a job before it runs: check."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.jobs import looked_up
from repaint_batch.cli.options import FIRST_S, ConfigPath, Settings
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import JobConfig, load_config
from repaint_batch.errors import ConfigError
from repaint_batch.jobs.plan import Plan
from repaint_batch.manifest import Manifest
from repaint_batch.outputs.standing import Standing, standing
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.pipeline.dataset import ActorResources
    from repaint_batch.preflight import Cost, Speed
    from repaint_batch.preflight.findings import Findings
    from repaint_batch.priors.loaded import LoadedPrior

_SHEET_PAIRS = 36
_TRIED_S = 60.0  # that --probe gives a preset


def check(
    config: ConfigPath,
    settings: Settings = None,
    sample: Annotated[int, typer.Option(min=1, help="Number of rows to look at.")] = 200,
    every: Annotated[bool, typer.Option("--all", help="Look at every row; totals are then exact.")] = False,
    contact_sheet: Annotated[Path | None, typer.Option(help="PNG to write, with random pairs and their holes tinted.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Time the prior on this machine, and say hours and money.")] = False,
    seconds_per_window: Annotated[
        float | None, typer.Option(min=0, help="Speed of an actor with every slot in use, if you know it.")
    ] = None,
    images_per_second: Annotated[float | None, typer.Option(min=0, help="The same as pictures a second.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a job before it runs: its rows and shards, what would fail, what looks wrong, what it will cost.

    Nothing is restored, and nothing is written to the output.

    Exit code: 0 nothing would fail; 3 some rows would fail, or no mask has a hole; 2 `run` would refuse the job: every row looked
    at would fail, the output holds another job or cannot be written, or the job is over compute.budget; 1 anything else.

    Example: repaint-batch check configs/restore-local.yaml --all --contact-sheet pairs.png
    """
    job = load_config(config, JobConfig, settings or ())
    said = seconds_per_window is not None, images_per_second is not None
    if probe + sum(said) > 1:
        raise ConfigError("give one of --probe, --seconds-per-window and --images-per-second")
    storage = Storage(job.storage, first_s=FIRST_S)
    manifest = looked_up(job, storage)  # before what takes seconds to import
    with waiting("loading torch and the prior"):
        from repaint_batch.pipeline.run import plan_job, resources_here
        from repaint_batch.preflight import cost_of, preflight

        plan, _, prior = plan_job(job, storage, manifest=manifest)
        resources = resources_here(job.compute)
    with waiting("looking at what the output holds"):
        found = standing(plan, manifest, storage)
    console.print(_plan_facts(plan, manifest, job, prior.resolution_px))
    sampled, drawn = None if every else sample, _SHEET_PAIRS if contact_sheet else 0
    with waiting("looking at pictures and masks"):
        findings = preflight(job, manifest, storage, sampled, resolution_px=prior.resolution_px, drawn=drawn)
    probe |= job.compute.budget is not None and not any(said)  # as a run would
    speed = _speed(job, storage, findings, resources, probe, seconds_per_window, images_per_second)
    # What a run would start here; on a cluster only that knows.
    actors = max(1, min(resources.most, manifest.rows)) if resources else job.compute.most_actors
    cost = cost_of(findings, job, speed, prior.resolution_px, actors)
    _print(findings, job, manifest.notes)
    _print_fit(prior, findings, job, ladder=probe)
    console.print(_facts(findings, job, cost, speed, resources, actors))
    _draw(findings, contact_sheet)
    answer(as_json, _json(plan, findings, cost, found.words(config)))
    _refuse(job, findings, cost, found, config)
    raise typer.Exit(3 if findings.failing or findings.holeless else 0)


def _speed(
    job: JobConfig,
    storage: Storage,
    findings: "Findings",
    resources: "ActorResources | None",
    probe: bool,
    seconds_per_window: float | None,
    images_per_second: float | None,
) -> "Speed | None":
    """Return how fast an actor is, as measured here or as said; None where nobody knows."""
    from repaint_batch.preflight import Speed
    from repaint_batch.preflight import probe as time_probe

    if seconds_per_window is not None:
        return Speed.of_window(seconds_per_window, job)
    if images_per_second and findings.nfe:
        return Speed.of_evaluation(findings.rows / images_per_second / findings.nfe / job.sampler.candidates, job)
    if not probe:
        return None
    with waiting("timing network calls"):
        return time_probe(job, storage, resources.threads if resources else None)


def _draw(findings: "Findings", contact_sheet: Path | None) -> None:
    if contact_sheet and findings.thumbnails:
        from repaint_batch.preflight.contact_sheet import contact_sheet as drawn_sheet

        contact_sheet.write_bytes(drawn_sheet(findings.thumbnails))
        console.print(f"contact sheet: {escape(str(contact_sheet))}")


def _refuse(job: JobConfig, findings: "Findings", cost: "Cost", found: Standing, config: str) -> None:
    """Say what a run would do to the output.

    Raises:
        ConfigError, ManifestError: a run would refuse the job.
    """
    from repaint_batch.preflight import refuse_hopeless

    refuse_hopeless(findings)
    if cost.money is not None or job.compute.budget is not None:
        cost.check_budget(job)
    if found.is_refused:
        raise ConfigError(f"run would refuse this: {found.words(config)}")
    if found.words(config):
        console.print(escape(found.words(config)))


def _plan_facts(plan: Plan, manifest: Manifest, job: JobConfig, resolution_px: int) -> Table:
    """Return what a job is, as a table."""
    from repaint_batch.sampler.presets import sampler_of

    nfe = sampler_of(job.sampler.preset, job.sampler.num_steps, job.sampler.own).nfe * job.sampler.candidates
    facts = {
        "job": plan.job_id,
        "manifest": f"{job.input.manifest}: {plan.rows:,} rows in {len(manifest.files)} files",
        "shards": f"{plan.shards:,} of {plan.shard_rows} rows",
        "prior": f"{job.prior.source}: {resolution_px} px, fingerprint {plan.prior_fingerprint}",
        "sampler": f"{job.sampler.own or job.sampler.preset}: {nfe:,} network evaluations per window",
        "output": f"{job.output.uri} (images: {job.output.images}, format: {job.output.format})",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[dim]{name}[/]", escape(value))
    return table


def _json(plan: Plan, findings: "Findings", cost: "Cost", standing_words: str) -> dict[str, object]:
    """Return what a check has found, for scripts."""
    return {
        "job_id": plan.job_id,
        "rows": plan.rows,
        "shards": plan.shards,
        "rows_looked_at": findings.looked,
        "rows_that_would_fail": findings.failing,
        "kinds": findings.kinds,
        "warnings": findings.warnings(),
        "pictures_searched": findings.searched,
        "pictures_with_damage": findings.marked,
        "search_core_hours": findings.core_hours if findings.searched else None,
        "hole_fraction": findings.hole_fraction,
        "windows": cost.windows,
        "network_evaluations": cost.nfe,
        "network_calls": cost.calls,
        "actor_hours": cost.actor_hours,
        "wall_hours": cost.wall_hours,
        "money": cost.money,
        "output": standing_words,
    }


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
    if findings.searched:
        each = f"{findings.cpu_s / findings.looked:,.2g} s of a core a picture, {findings.core_hours:,.2g} core-hours in all"
        facts.add_row("search for damage", f"{each}, beside the sampling")
    if cost.actor_hours is None or speed is None:
        facts.add_row("time", "--probe tells it, from a few network calls on this machine")
    else:
        kind = "GPU-hours" if (resources.num_gpus if resources else job.compute.num_gpus) else "actor-hours"
        facts.add_row(kind, f"{cost.actor_hours:,.2g} at {speed.call_s:.3g} s per call of {speed.batch_windows}")
        finish = cost.finish_at(datetime.now().astimezone())
        where = f"{actors} {'actor' if actors == 1 else 'actors'}" + ("" if resources else "; the cluster decides how many")
        facts.add_row("finish", f"{finish:%Y-%m-%d %H:%M}, if it starts now, with {where}, and half a minute to start them")
    if resources and not resources.num_gpus and job.compute.precision == "auto":
        from repaint_batch.inpainting.device import cpu_has_bfloat16

        if cpu_has_bfloat16():
            facts.add_row("faster", "this processor has bfloat16: compute.precision: bfloat16 takes about half the time")
    if cost.money is not None:
        facts.add_row("money", f"{cost.money:,.2f} at {job.compute.price_per_gpu_hour:g} per hour")
    return facts


def _print_fit(prior: "LoadedPrior", findings: "Findings", job: JobConfig, *, ladder: bool) -> None:
    """Say what a prior does in some of the pictures: a warning, and with the whole ladder the preset that is enough."""
    from repaint_batch.preflight.fitting import LADDER, QUICK_S, enough, try_prior

    fits = {}
    with waiting("trying the prior in some pictures"):
        for preset in LADDER if ladder else LADDER[:1]:
            fit = try_prior(prior, findings.places, preset, _TRIED_S if ladder else QUICK_S)
            if fit is None or not fit.restored:
                break
            fits[preset] = fit
    if not fits:
        return
    first, *_ = fits.values()
    if warning := first.warning(job.prior.source):
        console.print(f"[yellow]![/] {escape(warning)}")
    tried = ", ".join(f"{preset} {fit.restored_db:.1f} dB" for preset, fit in fits.items())
    holes = f"tried in {len(first.restored)} holes made in known pixels"
    console.print(f"{holes}: {tried}; a smooth filling {first.smooth_db:.1f} dB")
    if len(fits) > 1:
        console.print(f"sampler.preset: {enough(fits)} is enough there; dearer presets do not do measurably better")


def _print(findings: "Findings", job: JobConfig, notes: Sequence[str]) -> None:
    of = "all" if findings.whole else f"{findings.looked:,} of"
    good = findings.looked - findings.failing
    console.print(f"{of} {findings.rows:,} rows looked at: [green]{good:,} can be restored[/], {findings.failing:,} would fail")
    if findings.searched and job.images.masks is not None:
        kinds = ", ".join(job.images.masks.find)
        found = f"damage ({kinds}) found in [green]{findings.marked:,} of {findings.searched:,}[/] pictures that were searched"
        console.print(f"{found}; the others would pass through unchanged")
    console.print(f"holes: {findings.hole_fraction:.1%} of the pixels on average (images.hole: {job.images.hole})")
    for line in findings.warnings():
        console.print(f"[yellow]![/] {escape(line)}")
    for note in notes:
        console.print(f"[dim]{escape(note)}[/]")
