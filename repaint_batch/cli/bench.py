"""``repaint-batch dev bench``: what a restoration costs, beside diffusers' own RePaint, and what the job around it adds."""

import json
import os
import platform
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from rich.console import Console
from rich.table import Table

from repaint_batch.cli.jobs import progress
from repaint_batch.config import ComputeConfig, InputConfig, JobConfig, OutputConfig, PriorConfig, SamplerConfig
from repaint_batch.evaluate.bench import DEPRECATED, Contest, EngineCost, Stretch, demo_windows, describe, synchronise
from repaint_batch.evaluate.growth import Cost, measure_planning, measure_sampling
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.device import compiled, missing_compiler
from repaint_batch.priors.load import LoadedPrior, Precision, load_prior
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

_BATCH_WINDOWS = 16
_JOB_S = 600
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class JobCost:
    """What a job adds to its sampling.

    Attributes:
        shards: of one batch each.
        job_s: whole run, Ray's start included.
        shard_s: from one shard's end to the next one's, on average.
        sampling_shard_s: of `shard_s`, what its actor spent on it.
        bare_shard_s: the same windows in a bare loop, before and after the job; wrong where other work comes and goes.
    """

    shards: int
    job_s: float
    shard_s: float
    sampling_shard_s: float
    bare_shard_s: float

    @property
    def steady_efficiency(self) -> float:
        """Bare loop over job, once the job is under way."""
        return self.bare_shard_s / self.shard_s

    @property
    def busy_share(self) -> float:
        """Share of its time that the actor samples, once the job is under way: the same, whatever else the machine does."""
        return self.sampling_shard_s / self.shard_s

    @property
    def fixed_s(self) -> float:
        """What a job costs before its first and after its last shard."""
        return self.job_s - self.shards * self.shard_s

    def efficiency(self, job_s: float = _JOB_S) -> float:
        """Share of a job of `job_s` seconds that a bare loop over its windows would take."""
        return max(0.0, job_s - self.fixed_s) / job_s * self.steady_efficiency


def bench(
    output: Annotated[Path | None, typer.Option(help="JSON file for every figure.")] = None,
    prior: Annotated[str, typer.Option(help="Prior, as in a job's config.")] = "bundled:emoji",
    quick: Annotated[bool, typer.Option(help="One short round, nothing compiled; about a minute.")] = False,
) -> None:
    """Measure this package against diffusers' RePaintPipeline: same process, prior, pictures and schedule.

    Example: repaint-batch dev bench --output bench.json
    """
    found: dict[str, Any] = {"machine": _machine(), "engines": _engines(prior, quick)}
    _write(output, found)
    precision = found["engines"]["fastest_precision"]
    console.print("planning")
    with tempfile.TemporaryDirectory() as folder:
        planned = measure_planning(100_000 if quick else 1_000_000, Path(folder))
    console.print("cost of sampling as rows grow")
    grown = measure_sampling((100, 1000) if quick else (100, 1000, 10_000))
    found["planning"], found["growth"] = asdict(planned), [asdict(one) for one in grown]
    _write(output, found)
    job = measure_job(prior, shards=3 if quick else 8, preset="draft" if quick else "fast", precision=precision)
    found["job"] = asdict(job) | {
        "steady_efficiency": job.steady_efficiency,
        "busy_share": job.busy_share,
        "fixed_s": job.fixed_s,
        f"efficiency_{_JOB_S}_s": job.efficiency(),
    }
    _print(found["engines"], planned, grown, job)
    _write(output, found)
    if output is not None:
        Console().print(f"written: {output}")


def _write(output: Path | None, found: dict[str, Any]) -> None:
    """Write what was found so far: a run of an hour that is stopped leaves what it had."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _prior(source: str, precision: Precision) -> LoadedPrior:
    return load_prior(PriorConfig(source=source), Storage(), device=_device(), precision=precision).labelled(None, _BATCH_WINDOWS)


def _engines(source: str, quick: bool) -> dict[str, Any]:
    theirs = _prior(source, "float32")
    # The layout that diffusers loads a network in.
    theirs.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    contest = Contest(demo_windows(theirs.resolution_px, _BATCH_WINDOWS), Stretch())
    contest.add_deprecated(theirs)
    ours: dict[str, LoadedPrior] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        ours[f"ours, {precision}"] = _prior(source, precision)
    reason = "left out by --quick" if quick else missing_compiler()
    compile_s: dict[str, float] = {}
    if reason is None:
        for precision in precisions:
            name = f"ours, {precision}, compiled"
            console.print(f"compiling the network in {precision}")
            own, started = compiled(_prior(source, precision)), time.perf_counter()
            ours[name] = own
            windows, batch = contest.windows, _BATCH_WINDOWS
            RePaintPipeline.from_prior(own).restore(
                windows.known, windows.keep_mask, windows.keys, sampler=contest.stretch, batch_windows=batch
            )
            compile_s[name] = time.perf_counter() - started
    else:
        console.print(f"not compiled: {reason}")
    for name, own in ours.items():
        contest.add(name, own)
    costs = contest.run(1 if quick else 7, console.print)
    best = min(ours, key=lambda name: costs[name].evaluation_s)
    return {
        "batch_windows": _BATCH_WINDOWS,
        "stretch": asdict(contest.stretch),
        "compile_s": compile_s,
        "flops_per_evaluation": costs[DEPRECATED].flops,
        "costs": describe(costs, PRESETS["paper"].nfe),
        "rounds": {name: [asdict(one) for one in cost.rounds] for name, cost in costs.items()},
        "fastest_precision": min(precisions, key=lambda precision: costs[f"ours, {precision}"].evaluation_s),
        "fast_preset": _fast(contest, costs, best, ours[best]),
    }


def _fast(contest: Contest, costs: dict[str, EngineCost], best: str, best_prior: LoadedPrior) -> dict[str, Any]:
    """Return the preset `fast`, measured whole, against diffusers' paper schedule, extrapolated from its stretch."""
    pipeline, windows = RePaintPipeline.from_prior(best_prior), contest.windows
    started = time.perf_counter()
    pipeline.restore(windows.known, windows.keep_mask, windows.keys, sampler=PRESETS["fast"], batch_windows=_BATCH_WINDOWS)
    synchronise(torch.device(_device()))
    seconds = time.perf_counter() - started
    paper_s = costs[DEPRECATED].evaluation_s * PRESETS["paper"].nfe
    nfe = PRESETS["fast"].nfe
    return {"engine": best, "nfe": nfe, "batch_s": seconds, "paper_batch_s": paper_s, "speed_up": paper_s / seconds}


def measure_job(source: str, *, shards: int, preset: str, precision: Precision) -> JobCost:
    """Return what a Ray job of `shards` batches of the demo's pictures costs, and the bare loop over the same ones."""
    from repaint_batch.pipeline.run import run_job

    sampler = PRESETS[preset]
    loaded = _prior(source, precision)
    windows = demo_windows(loaded.resolution_px, _BATCH_WINDOWS)
    pipeline = RePaintPipeline.from_prior(loaded)

    def bare() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as an actor
        started = time.perf_counter()
        pipeline.restore(windows.known, windows.keep_mask, windows.keys, sampler=sampler, batch_windows=_BATCH_WINDOWS)
        torch.set_num_threads(threads)
        return time.perf_counter() - started

    console.print(f"a job of {shards} shards, and the same windows in a bare loop")
    with tempfile.TemporaryDirectory() as folder:
        config = _job_config(Path(folder), source, shards, preset, precision)
        bare()
        before = [bare() for _ in range(max(1, shards // 4))]
        summary = run_job(config, progress)
        after = [bare() for _ in before]
        rows = ResultsTable(config.output.uri, Storage()).snapshot().read(("shard", "finished_at", "inpaint_s"))
        answer = rows.group_by("shard").aggregate([("finished_at", "max"), ("inpaint_s", "sum")]).sort_by("finished_at_max")
    done = [moment.timestamp() for moment in answer["finished_at_max"].to_pylist()]
    sampling_s = statistics.mean(answer["inpaint_s_sum"].to_pylist()[1:])
    shard_s, bare_s = (done[-1] - done[0]) / (shards - 1), statistics.mean(before + after)
    return JobCost(shards, summary.seconds, shard_s, sampling_s, bare_s)


def _job_config(folder: Path, source: str, shards: int, preset: str, precision: Precision) -> JobConfig:
    with as_file(files("repaint_batch") / "assets" / "emoji.parquet") as path:
        rows = pq.read_table(path, columns=["image", "mask"]).slice(0, _BATCH_WINDOWS)
    many = pa.concat_tables([rows] * -(-shards * _BATCH_WINDOWS // len(rows))).slice(0, shards * _BATCH_WINDOWS)
    many = many.add_column(0, "sample_id", pa.array([f"{number:06d}" for number in range(len(many))]))
    pq.write_table(many, folder / "manifest.parquet")
    return JobConfig(
        input=InputConfig(manifest=str(folder / "manifest.parquet")),
        output=OutputConfig(uri=str(folder / "out")),
        prior=PriorConfig(source=source),
        sampler=SamplerConfig(preset=preset),
        compute=ComputeConfig(shard_rows=_BATCH_WINDOWS, batch_windows=_BATCH_WINDOWS, precision=precision),
    )


def _print(engines: dict[str, Any], planned: Cost, grown: list[Cost], job: JobCost) -> None:
    out = Console()
    figures = "ms", "not network", "images / h", "faster", "CPU time", "MiB", "GFLOP/s", "MFU"
    table = Table("engine", *figures, pad_edge=False)
    for one in engines["costs"]:
        mfu = f"{one['mfu']:.0%}" if one["mfu"] is not None else ""
        table.add_row(
            one["engine"],
            f"{one['evaluation_ms']:.1f}",
            f"{one['non_network_share']:.1%}",
            f"{one['images_per_hour']:.1f}",
            f"{one['speed_up']:.2f}×",
            f"{one['speed_up_cpu']:.2f}×",
            f"{one['peak_bytes'] / 2**20:.0f}",
            f"{one['flops_per_s'] / 1e9:.0f}",
            mfu,
        )
    table.title = f"One evaluation of RePaint 250/10/10 at batch {engines['batch_windows']}, and a stretch of it"
    out.print(table)
    fast = engines["fast_preset"]
    lines = {
        "preset fast": f"{fast['speed_up']:.0f}× the images of diffusers' 250/10/10 (extrapolated), on {fast['engine']}",
        "planning": f"{planned.rows:,} rows in {planned.seconds:.1f} s, {planned.grown_bytes / 2**20:.0f} MiB",
        "growth": ", ".join(f"{one.rows:,} rows {1e3 * one.seconds / one.rows:.2f} ms a row" for one in grown),
        "job": f"sampling {job.busy_share:.1%} of its time under way, {job.steady_efficiency:.1%} as fast as a bare loop, "
        f"{job.fixed_s:.1f} s before and after, "
        f"so {job.efficiency():.1%} in a job of {_JOB_S // 60} minutes",
    }
    facts = Table.grid(padding=(0, 2))
    for name, line in lines.items():
        facts.add_row(f"[dim]{name}[/]", line)
    out.print(facts)
