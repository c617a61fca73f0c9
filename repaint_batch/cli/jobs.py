"""Commands that run jobs and stop them: run, retry-failed, stop."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape

from repaint_batch.cli.options import Endpoint, OutputUri, Region, Settings, complete_config, overridden, reached
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.report import offer_report
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import JobConfig, load_config
from repaint_batch.errors import ConfigError, Interrupted, NothingToResume
from repaint_batch.jobs.plan import Plan, load_plans
from repaint_batch.jobs.stop_request import Ending, request_stop
from repaint_batch.manifest import Manifest, open_manifest
from repaint_batch.outputs.dead_letters import failures, retry_configs
from repaint_batch.outputs.reviews import count_verdicts, redos
from repaint_batch.outputs.standing import added, retried, standing, told
from repaint_batch.outputs.status import no_holes, no_holes_reason, read_status
from repaint_batch.outputs.writing import check_writable
from repaint_batch.priors.source import check_named
from repaint_batch.report.progress import Progress
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.pipeline.run import Planned, Summary, Watch

_KINDS_TOLD = 3  # classes of error of which a summary shows an example
_ENDINGS: dict[Ending, str] = {
    "stopped": "stopped",
    "dead": "its process has died",
    "silent": "its process is silent; it has died, or its machine is cut off",
}

Target = Annotated[
    str,
    typer.Argument(help="YAML file of the job; or an output, to go on with its jobs.", autocompletion=complete_config),
]


def planned(job: JobConfig, storage: Storage) -> "Planned":
    """Return a job's plan, manifest and prior; what is wrong with the names of these is found before torch is loaded."""
    manifest = looked_up(job, storage)
    with waiting("loading torch and the prior"):
        from repaint_batch.pipeline.run import plan_job

        return plan_job(job, storage, manifest=manifest)


def looked_up(job: JobConfig, storage: Storage) -> Manifest:
    """Return a job's manifest, once its prior is found to have a name and its output to be writable.

    Raises:
        ManifestError, PriorError, ConfigError, NoBucket: one of them cannot be used.
    """
    check_named(job.prior.source, job.prior.revision)
    with waiting("looking at the manifest and the output"):
        manifest = open_manifest(job.input.manifest, storage)
        check_writable(job.output.uri, storage)
    return manifest


def run(
    target: Target,
    settings: Settings = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Restore only this many rows, from the top of the manifest.")] = None,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Restore a corpus. Run again, it goes on where it stopped, and adds rows that are new in the manifest.

    Given an output instead of a config, it goes on with the jobs there, as they were planned.

    With --rows 20 it restores the first 20 rows only. They are part of the job: the next run goes on with the others.

    Exit code: 0 all rows are ok or skipped; 3 all is done, but rows failed or no mask had a hole; 2 a config or manifest that
    cannot be honoured; 4 stopped before the end; 130 interrupted by Ctrl-C; 1 anything else.

    Example: repaint-batch run configs/restore-local.yaml --set sampler.preset=draft --rows 20
    """
    if is_output(target):
        if settings or rows:
            raise ConfigError(f"--set and --rows need the config of the job; the jobs in {target} run as they were planned")
        _go_on(target, as_json, endpoint_url, region)
    job = _from_here(load_config(target, JobConfig, settings or ()), endpoint_url, region)
    storage = Storage(job.storage)
    made = planned(job, storage)
    plan, manifest, _ = made
    with waiting("looking at what the output holds"):
        found = standing(plan, manifest, storage)
    if found.is_grown:
        console.print(f"the manifest has {len(found.new):,} rows that {escape(found.output)} does not hold; they are added")
        larger, before, listed = added(plan, manifest, found, storage)
        _leave(job.output.uri, [_execute(larger, before, listed=listed, config_path=target, rows=rows)], storage, as_json)
    if found.is_settled:
        console.print(f"{escape(found.words(target))}; nothing is left to do")
        _leave(job.output.uri, [], storage, as_json)
    if found.is_refused:
        if not (found.failed and sys.stdin.isatty()):
            raise ConfigError(found.words(target))
        console.print(f"[yellow]{escape(found.words(target))}[/]")
        typer.confirm(f"run the {found.failed:,} failed rows under these settings now?", abort=True)
        _leave(job.output.uri, _retry(found.output, storage, job, target), storage, as_json)
    _leave(job.output.uri, [_execute(job, None, made=made, config_path=target, rows=rows)], storage, as_json)


def is_output(target: str) -> bool:
    """Return whether what a person names is an output, and not the YAML file of a job."""
    return not Path(target).is_file() and not target.endswith((".yaml", ".yml"))


def _go_on(output: str, as_json: bool, endpoint_url: str | None, region: str | None) -> NoReturn:
    """Run what is left of the jobs of an output."""
    storage = reached(output, endpoint_url, region, patient=True)
    done: list[Summary] = []
    for job in read_status(output, storage).jobs:
        plan = job.plan
        if job.rows_done == plan.rows:
            console.print(f"job {plan.job_id} was already finished; 0 network evaluations")
        else:
            config = _from_here(plan.job_config, endpoint_url, region)
            done.append(_execute(config, plan.retry_of, listed=plan.listed))
    if not done:
        found = read_status(output, storage)
        counts = {"ok": found.ok, "skipped": found.skipped, "failed": found.failed}
        console.print(f"{escape(output)} holds {_counted(counts)}")
        if no_holes(counts):
            console.print(no_holes_reason(found.jobs[-1].plan.job_config.images.hole))
    _leave(output, done, storage, as_json)


def retry_failed(
    output: OutputUri,
    rejected: Annotated[bool, typer.Option("--rejected", help="Run the pictures that a review wants redone instead.")] = False,
    config: Annotated[str | None, typer.Option(help="YAML file whose settings the rows run under; good rows stay.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    endpoint_url: Endpoint = None,
    region: Region = None,
) -> None:
    """Run the failed rows again, and no others; new results replace the old ones.

    A row that failed because of a setting fails again, unless --config changes that setting. With --rejected it runs the pictures
    that a review wants redone, with the seed, preset and mask chosen there; one whose source has changed since is named and left.

    Exit code: 0 all these rows are ok or skipped; 3 some failed again or were left; 2, 4, 130 and 1 as of `run`.

    Example: repaint-batch retry-failed s3://corpus/restored --config job.yaml
    """
    if rejected and config:
        raise ConfigError("give one of --rejected and --config: a redo has the settings that the review asked for")
    if settings and not config:
        raise ConfigError("--set changes a config: give --config too")
    changed = None if config is None else _from_here(load_config(config, JobConfig, settings or ()), endpoint_url, region)
    storage = reached(output, endpoint_url, region, patient=True) if changed is None else Storage(changed.storage)
    if not read_status(output, storage).finished:
        console.print(f"[yellow]some rows are not done yet; `repaint-batch run {escape(output)}` runs them[/]")
    if not rejected:
        done = _retry(output, storage, changed, config, endpoint_url, region)
        _leave(output, done, storage, as_json, idle_code=0)
    wanted = redos(output, storage)
    if not wanted.jobs and not wanted.refused:
        console.print(f"no picture is marked to be redone; {_reviewed(output, storage)}")
    redone = [_execute(_from_here(redo, endpoint_url, region), before.job_id) for redo, before in wanted.jobs]
    for sample_id, why in wanted.refused:
        console.print(f"[yellow]not redone:[/] {escape(sample_id)}: {escape(why)}")
    _leave(output, redone, storage, as_json, idle_code=0, least_code=3 if wanted.refused else 0)


def stop(output: OutputUri, as_json: AsJson = False, endpoint_url: Endpoint = None, region: Region = None) -> None:
    """Stop the job or night that is running in an output, on whatever machine it runs, and wait for its end.

    The job notices within seconds, saves what it is working on, and ends with exit code 4. `repaint-batch run OUTPUT` goes on
    from there. After a night, the next night goes on.

    Exit code: 0 it has stopped, or nothing was running; 1 its process does not answer, or anything else.

    Example: repaint-batch stop s3://corpus/restored
    """
    storage = reached(output, endpoint_url, region)
    with waiting("looking who works there"):
        asked = request_stop(output, storage)
    if not asked and not load_plans(output, storage):
        raise NothingToResume(f"{output}: no job was ever planned there; check the output")
    if not asked:
        console.print(f"nothing runs in {escape(output)}")
    for driver in asked:
        console.print(f"{escape(driver.words)}: asked to stop")
    with waiting("waiting until it has saved what is under way"):
        endings = {driver.lease.job_id: driver.ended() for driver in asked}
    for driver in asked:
        console.print(f"{escape(driver.words)}: {_ENDINGS[endings[driver.lease.job_id]]}")
    if asked:
        console.print(f"what was committed stays; `repaint-batch run {escape(output)}` goes on")
    answer(as_json, {"output": output, "asked": endings})
    raise typer.Exit(1 if "silent" in endings.values() else 0)


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
) -> "list[Summary]":
    """Run failed rows again, under `settings` if there are any."""
    with waiting("looking for failed rows"):
        configs = retry_configs(output, storage, settings)
    if not configs:
        console.print("no failed rows")
    if configs and settings is not None:
        counts = read_status(output, storage)
        for config, before in configs:
            failed = open_manifest(config.input.manifest, storage).rows
            for line in told(before, retried(output, before, settings)[1], failed, counts.ok + counts.skipped):
                console.print(escape(line))
    return [
        _execute(_from_here(config, endpoint_url, region), before.job_id, config_path=config_path) for config, before in configs
    ]


def _execute(
    config: JobConfig,
    retry_of: str | None,
    *,
    listed: int | None = None,
    made: "Planned | None" = None,
    config_path: str | None = None,
    rows: int | None = None,
) -> "Summary":
    """Run a job, or its first rows, and say what it did."""
    # Ray and torch take seconds to import: only those who run a job wait for them.
    with waiting("loading Ray and torch"):
        from repaint_batch.pipeline.run import run_job

    try:
        with starting(config, rows) as begun:
            summary = run_job(config, begun, retry_of=retry_of, listed=listed, planned=made, rows=rows)
    except KeyboardInterrupt:
        raise Interrupted(f"nothing is lost; `repaint-batch run {config.output.uri}` goes on") from None
    for line in _summary_words(summary, config, config_path):
        console.print(escape(line))
    with waiting("writing the report"):
        where = offer_report(config.output.uri, Storage(config.storage)) if summary.rows_run else None
    if where:
        shown = f" (`repaint-batch report {config.output.uri} --serve` shows it)" if where.startswith("s3://") else ""
        console.print(escape(f"report: {where}{shown}"))
    return summary


def _summary_words(summary: "Summary", config: JobConfig, config_path: str | None) -> list[str]:
    """Return what a run did, which rows failed, and what to type next."""
    plan, output = summary.plan, config.output.uri
    holds = f"{output} holds {_counted(summary.counts)}"
    ran = f"{summary.rows_run:,} rows ran in {summary.seconds:.0f} s, {summary.nfe:,} network evaluations"
    if summary.rows_left:
        lines = [f"job {plan.job_id}: {ran}; {holds}" if summary.rows_run else f"these rows were done already; {holds}"]
        lines.append(
            f"{summary.rows_left:,} of {plan.rows:,} rows are left: `repaint-batch run {config_path or output}` runs them and "
            "replaces nothing"
        )
    elif summary.rows_run:
        lines = [f"job {plan.job_id} finished: {ran}; {holds}"]
    else:
        lines = [f"job {plan.job_id} was already finished; 0 network evaluations; {holds}"]
    lines += summary.notes
    if summary.counts["failed"]:
        lines += _failed_words(config, config_path)
    return [*lines, no_holes_reason(config.images.hole)] if no_holes(summary.counts) else lines


def _failed_words(config: JobConfig, config_path: str | None) -> list[str]:
    """Return which rows of an output failed, why, and what to type."""
    output, kinds = config.output.uri, failures(config.output.uri, Storage(config.storage))
    lines = [
        f"failed: {kind.rows:,} {kind.error_class}, {'as' if kind.rows > 1 else 'of'} {kind.sample_id}: {kind.reason}"
        for kind in kinds[:_KINDS_TOLD]
    ]
    more = sum(kind.rows for kind in kinds[_KINDS_TOLD:])
    lines += [f"and {more:,} more; `repaint-batch export {output} --failed --to failed.parquet` names all"] if more else []
    under = config_path or "job.yaml"
    return [*lines, f"repair pictures, masks or settings, then `repaint-batch retry-failed {output} --config {under}`"]


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _leave(
    output: str, done: "list[Summary]", storage: Storage, as_json: bool, *, idle_code: int | None = None, least_code: int = 0
) -> NoReturn:
    """End a command that has run jobs, with their exit code, or `least_code`; `idle_code` is that of one that had none to run."""
    code = max((summary.exit_code for summary in done), default=idle_code)
    code = None if code is None else max(code, least_code)
    if code is None or as_json:
        found = read_status(output, storage)
        code = found.exit_code if code is None else code
        counts = {name: getattr(found, name) for name in ("rows", "ok", "skipped", "failed", "missing")}
        answer(as_json, {"output": output, **counts, "exit_code": code, "jobs": [_ran(summary) for summary in done]})
    raise typer.Exit(code)


def _ran(summary: "Summary") -> dict[str, Any]:
    names = ("rows_run", "rows_left", "nfe", "seconds")
    return {"job_id": summary.plan.job_id, **{name: getattr(summary, name) for name in names}}


@contextlib.contextmanager
def starting(config: JobConfig, rows: int | None = None) -> "Iterator[Watch]":
    """Say which Ray starts until a job begins, and that it ends; yield what in between shows the job's progress."""
    address = config.compute.address or os.environ.get("RAY_ADDRESS")
    ray = f"joining Ray at {address}" if address else "starting Ray on this machine"
    with around_progress(f"{ray}, and looking at some rows", "taking leave of Ray", rows) as begun:
        yield begun


@contextlib.contextmanager
def around_progress(before: str, after: str, rows: int | None = None) -> "Iterator[Watch]":
    """Say what is under way before and after jobs; yield what shows the progress of one, or of its first rows."""
    with contextlib.ExitStack() as quiet:
        quiet.enter_context(waiting(before))

        @contextlib.contextmanager
        def begun(plan: Plan, rows_done: int, shards_done: int) -> Iterator[Progress]:
            quiet.close()
            last = plan.rows if rows is None else min(rows, plan.rows)
            shards = -(-last // plan.shard_rows)
            try:
                with Progress(last, shards, done_rows=rows_done, done_shards=shards_done, console=console) as shown:
                    yield shown
            finally:
                quiet.enter_context(waiting(after))

        yield begun


def _from_here(config: JobConfig, endpoint_url: str | None, region: str | None) -> JobConfig:
    return config.model_copy(update={"storage": overridden(config.storage, endpoint_url, region)})
