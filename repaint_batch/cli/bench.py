"""``repaint-batch dev bench``: what a restoration costs, beside diffusers' own RePaint, and what the job around it adds."""

import json
import math
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

from repaint_batch.cli.jobs import starting
from repaint_batch.config import ComputeConfig, InputConfig, JobConfig, OutputConfig, PriorConfig, SamplerConfig
from repaint_batch.evaluate.bench import DEPRECATED, Contest, Stretch, demo_windows, describe, told
from repaint_batch.evaluate.growth import Growth, measure_planning, measure_sampling
from repaint_batch.evaluate.ratio import LEAST_ROUNDS, Ratio, busy, ratio
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.device import compiled, cpu_has_bfloat16, missing_compiler
from repaint_batch.priors.load import LoadedPrior, Precision, load_prior
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

_BATCH_WINDOWS, _QUICK_WINDOWS = 16, 4
_ROUNDS = 7
_JOB_S = 600
_LEAST_SHARDS = 8
"""Shards of a job from which on its time between them can be told from its beginning and end."""
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class JobCost:
    """What a job adds to its sampling.

    Attributes:
        shards: of one batch each.
        job_s: whole run, Ray's start included.
        shard_s: from one shard's end to the next one's, on average.
        sampling_shard_s: of `shard_s`, what its actor spent on it.
        bare_shards_s: the same windows in a bare loop, some times before and some times after the job.
    """

    shards: int
    job_s: float
    shard_s: float
    sampling_shard_s: float
    bare_shards_s: tuple[float, ...]

    @property
    def steady_efficiency(self) -> Ratio:
        """Bare loop over job, once the job is under way; a job cannot take turns, so loops before and after it surround it."""
        return ratio(self.bare_shards_s, [self.shard_s] * len(self.bare_shards_s))

    @property
    def busy_share(self) -> float:
        """Share of its time that the actor samples, once the job is under way: the same, whatever else the machine does."""
        return self.sampling_shard_s / self.shard_s

    @property
    def fixed_s(self) -> float:
        """What a job costs before its first and after its last shard."""
        return self.job_s - self.shards * self.shard_s

    def efficiency(self, job_s: float = _JOB_S) -> float | None:
        """Share of a job of `job_s` seconds that a bare loop over its windows would take; None where that is not supported."""
        steady = self.steady_efficiency
        if steady.refusal or self.shards < _LEAST_SHARDS:
            return None
        return max(0.0, job_s - self.fixed_s) / job_s * steady.value

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self) | {
            "steady_efficiency": told(self.steady_efficiency),
            "busy_share": self.busy_share,
            "fixed_s": self.fixed_s,
            "efficiency": self.efficiency(self.job_s),
            f"efficiency_{_JOB_S}_s": self.efficiency(),
        }


def bench(
    output: Annotated[Path | None, typer.Option(help="JSON file for every figure.")] = None,
    prior: Annotated[str, typer.Option(help="Prior, as in a job's config.")] = "bundled:emoji",
    quick: Annotated[bool, typer.Option(help="Small batches, nothing compiled; a few minutes.")] = False,
    only_job: Annotated[
        bool, typer.Option("--only-job", help="A job of ten minutes beside a bare loop over its windows, and nothing else.")
    ] = False,
) -> None:
    """Measure this package against diffusers' RePaintPipeline: same process, prior, pictures and schedule.

    Example: repaint-batch dev bench --output bench.json
    """
    machine = _machine()
    if warning := busy(machine["load"], machine["cores"]):
        console.print(f"[yellow]{warning}[/]")
    found: dict[str, Any] = {"machine": machine | {"busy": warning}}
    batch_windows, preset = (_QUICK_WINDOWS, "preview") if quick else (_BATCH_WINDOWS, "fast")
    if only_job:
        job = measure_job(prior, seconds=_JOB_S, preset=preset, precision=_fastest_precision(), batch_windows=batch_windows)
        facts = {"job": _job_words(job)}
    else:
        engines = found["engines"] = _engines(prior, quick)
        _write(output, found)
        console.print("planning")
        with tempfile.TemporaryDirectory() as folder:
            planned = measure_planning(100_000 if quick else 1_000_000, Path(folder))
        console.print("cost of sampling as rows grow")
        grown = measure_sampling((100, 1000) if quick else (100, 1000, 10_000))
        found["planning"], found["growth"] = asdict(planned), [asdict(one) for one in grown]
        _write(output, found)
        precision = engines["fastest_precision"]
        shards = 3 if quick else _LEAST_SHARDS
        job = measure_job(prior, shards=shards, preset=preset, precision=precision, batch_windows=batch_windows)
        _print_engines(engines)
        facts = _facts(engines, planned, grown) | {"job": _job_words(job)}
    found["job"] = job.figures()
    _print_facts(facts)
    _write(output, found)
    if output is not None:
        Console().print(f"written: {output}")


def _fastest_precision() -> Precision:
    return "bfloat16" if torch.cuda.is_available() or cpu_has_bfloat16() else "float32"


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


def _prior(source: str, precision: Precision, batch_windows: int) -> LoadedPrior:
    return load_prior(PriorConfig(source=source), Storage(), device=_device(), precision=precision).labelled(None, batch_windows)


def _engines(source: str, quick: bool) -> dict[str, Any]:
    batch_windows = _QUICK_WINDOWS if quick else _BATCH_WINDOWS
    theirs = _prior(source, "float32", batch_windows)
    # The layout that diffusers loads a network in.
    theirs.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    contest = Contest(demo_windows(theirs.resolution_px, batch_windows), Stretch())
    contest.add_deprecated(theirs)
    ours: dict[str, LoadedPrior] = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        ours[f"ours, {precision}"] = _prior(source, precision, batch_windows)
    reason = "left out by --quick" if quick else missing_compiler()
    compile_s: dict[str, float] = {}
    if reason is None:
        for precision in precisions:
            name = f"ours, {precision}, compiled"
            console.print(f"compiling the network in {precision}")
            own, started = compiled(_prior(source, precision, batch_windows)), time.perf_counter()
            ours[name] = own
            windows = contest.windows
            RePaintPipeline.from_prior(own).restore(
                windows.known, windows.keep_mask, windows.keys, sampler=contest.stretch, batch_windows=batch_windows
            )
            compile_s[name] = time.perf_counter() - started
    else:
        console.print(f"not compiled: {reason}")
    for name, own in ours.items():
        contest.add(name, own)
    costs = contest.run(_ROUNDS, console.print)
    best = min(ours, key=lambda name: costs[name].evaluation_s)
    return {
        "batch_windows": batch_windows,
        "stretch": asdict(contest.stretch),
        "compile_s": compile_s,
        "flops_per_evaluation": costs[DEPRECATED].flops,
        "costs": describe(costs, PRESETS["paper"].nfe),
        "rounds": {name: [asdict(one) for one in cost.rounds] for name, cost in costs.items()},
        "fastest_precision": min(precisions, key=lambda precision: costs[f"ours, {precision}"].evaluation_s),
        "preset": _whole_preset("preview" if quick else "fast", best, ours[best], theirs, batch_windows),
    }


def _whole_preset(name: str, engine: str, own: LoadedPrior, theirs: LoadedPrior, batch_windows: int) -> dict[str, Any]:
    """Return a preset, run whole, against diffusers' paper schedule, extrapolated from a stretch that takes turns with it."""
    contest = Contest(demo_windows(theirs.resolution_px, batch_windows), Stretch())
    contest.add_deprecated(theirs)
    contest.add(name, own, PRESETS[name])
    costs = contest.run(_ROUNDS, console.print)
    nfe, paper_nfe = PRESETS[name].nfe, PRESETS["paper"].nfe
    found = costs[name].whole_speed_up(nfe, costs[DEPRECATED], paper_nfe)
    seconds = {"batch_s": nfe * costs[name].evaluation_s, "paper_batch_s": paper_nfe * costs[DEPRECATED].evaluation_s}
    return {"preset": name, "engine": engine, "nfe": nfe, **seconds, "speed_up": told(found)}


def measure_job(
    source: str, *, shards: int = 0, seconds: float = 0, preset: str, precision: Precision, batch_windows: int = _BATCH_WINDOWS
) -> JobCost:
    """Return what a Ray job over batches of the demo's pictures costs, and the bare loop over the same ones.

    Args:
        source: of the prior.
        shards: batches.
        seconds: that the batches are to take in the bare loop, where `shards` is 0.
        preset: of the sampler.
        precision: of the network.
        batch_windows: windows in a batch, and rows in a shard.
    """
    from repaint_batch.pipeline.run import run_job

    sampler = PRESETS[preset]
    loaded = _prior(source, precision, batch_windows)
    windows = demo_windows(loaded.resolution_px, batch_windows)
    pipeline = RePaintPipeline.from_prior(loaded)

    def bare() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as an actor
        started = time.perf_counter()
        pipeline.restore(windows.known, windows.keep_mask, windows.keys, sampler=sampler, batch_windows=batch_windows)
        torch.set_num_threads(threads)
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        bare()
        shards = shards or math.ceil(seconds / bare())
        console.print(f"a job of {shards} shards, and the same windows in a bare loop")
        config = _job_config(Path(folder), source, shards, preset, precision, batch_windows)
        before = [bare() for _ in range(LEAST_ROUNDS // 2)]
        with starting(config) as begun:
            summary = run_job(config, begun)
        after = [bare() for _ in before]
        rows = ResultsTable(config.output.uri, Storage()).snapshot().read(("shard", "finished_at", "inpaint_s"))
        answer = rows.group_by("shard").aggregate([("finished_at", "max"), ("inpaint_s", "sum")]).sort_by("finished_at_max")
    done = [moment.timestamp() for moment in answer["finished_at_max"].to_pylist()]
    sampling_s = statistics.mean(answer["inpaint_s_sum"].to_pylist()[1:])
    shard_s = (done[-1] - done[0]) / (shards - 1)
    return JobCost(shards, summary.seconds, shard_s, sampling_s, (*before, *after))


def _job_config(folder: Path, source: str, shards: int, preset: str, precision: Precision, batch_windows: int) -> JobConfig:
    with as_file(files("repaint_batch") / "assets" / "emoji.parquet") as path:
        rows = pq.read_table(path, columns=["image", "mask"]).slice(0, batch_windows)
    many = pa.concat_tables([rows] * -(-shards * batch_windows // len(rows))).slice(0, shards * batch_windows)
    many = many.add_column(0, "sample_id", pa.array([f"{number:06d}" for number in range(len(many))]))
    pq.write_table(many, folder / "manifest.parquet")
    return JobConfig(
        input=InputConfig(manifest=str(folder / "manifest.parquet")),
        output=OutputConfig(uri=str(folder / "out")),
        prior=PriorConfig(source=source),
        sampler=SamplerConfig(preset=preset),
        compute=ComputeConfig(shard_rows=batch_windows, batch_windows=batch_windows, precision=precision),
    )


def _ratio_words(found: dict[str, Any]) -> str:
    return "refused" if found["refusal"] else f"{found['value']:.2f}×"


def _print_engines(engines: dict[str, Any]) -> None:
    figures = "ms", "not network", "images / h", "faster", "CPU time", "MiB", "GFLOP/s", "MFU"
    table = Table("engine", *figures, pad_edge=False)
    for one in engines["costs"]:
        mfu = f"{one['mfu']:.0%}" if one["mfu"] is not None else ""
        table.add_row(
            one["engine"],
            f"{one['evaluation_ms']:.1f}",
            f"{one['non_network_share']:.1%}",
            f"{one['images_per_hour']:.1f}",
            _ratio_words(one["speed_up"]),
            _ratio_words(one["speed_up_cpu"]),
            f"{one['peak_bytes'] / 2**20:.0f}",
            f"{one['flops_per_s'] / 1e9:.0f}",
            mfu,
        )
    table.title = f"One evaluation of RePaint 250/10/10 at batch {engines['batch_windows']}, and a stretch of it"
    Console().print(table)


def _facts(engines: dict[str, Any], planned: Growth, grown: list[Growth]) -> dict[str, str]:
    """Return what to say below the table, by what it is about."""
    preset = engines["preset"]
    against = f"the images of diffusers' 250/10/10 (extrapolated from a stretch), on {preset['engine']}"
    notes = {f"{one['engine']}, {name}": one[key]["refusal"] for one in engines["costs"]
             for name, key in (("faster", "speed_up"), ("CPU time", "speed_up_cpu")) if one[key]["refusal"]}  # fmt: skip
    return {
        f"preset {preset['preset']}": f"{against}: {Ratio(tuple(preset['speed_up']['rounds']))}",
        "planning": f"{planned.rows:,} rows in {planned.seconds:.1f} s, {planned.grown_bytes / 2**20:.0f} MiB",
        "growth": ", ".join(f"{one.rows:,} rows {1e3 * one.seconds / one.rows:.2f} ms a row" for one in grown),
        **{name: f"not supported: {reason}" for name, reason in notes.items()},
    }


def _job_words(job: JobCost) -> str:
    steady, whole, ten_minutes = job.steady_efficiency, job.efficiency(job.job_s), job.efficiency()
    beside = str(steady) if steady.refusal else f"{steady.value:.1%} as fast as a bare loop"
    words = f"sampling {job.busy_share:.1%} of its time under way; {beside}; {job.fixed_s:.1f} s before and after"
    if whole is None or ten_minutes is None:
        return words
    return f"{words}, so {whole:.1%} in all its {job.job_s:.0f} s and {ten_minutes:.1%} in a job of {_JOB_S // 60} minutes"


def _print_facts(facts: dict[str, str]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, line in facts.items():
        grid.add_row(f"[dim]{name}[/]", line)
    Console().print(grid)
