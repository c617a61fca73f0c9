"""What is worth knowing of a device: speed, memory, and where the time goes."""

import importlib.util
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
import torch._inductor.config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from repaint_batch.config import PriorConfig
from repaint_batch.evaluate.bench import DEPRECATED, Contest, Stretch, Windows, count_flops
from repaint_batch.inpainting.device import missing_compiler
from repaint_batch.priors.load import Precision, load_prior
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.arithmetic import exact_arithmetic
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.recording import record
from repaint_batch.storage import Storage

from .clock import peak_bytes, seconds_of, wait
from .networks import chain, compiled, full_slots, prior_named
from .parts import Found, Setting

_PEAK = 989e12
"""Dense bfloat16 FLOP/s of an H100 or H200 (SXM), by its maker's data sheet."""


def machine(setting: Setting) -> Iterator[Found]:
    """Name, versions and the two ceilings: a large matrix product, a large copy."""
    yield Found("torch", torch.__version__)
    yield Found("python", platform.python_version())
    yield Found("cores", os.cpu_count() or 0)
    yield Found("compiler", missing_compiler() or "there")
    if setting.is_cuda:
        about = torch.cuda.get_device_properties(setting.device)
        yield Found("device", about.name)
        yield Found("memory", about.total_memory / 2**30, "GiB")
        yield Found("cudnn", str(torch.backends.cudnn.version()))
    bundled = load_prior(PriorConfig(source="bundled:photo"), Storage(), device=setting.device, precision="bfloat16")
    yield Found("parameters of the bundled prior", sum(one.numel() for one in bundled.network.parameters()), ok=True)
    side = setting.of(8192, 64)
    a, b = (torch.randn(side, side, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    yield Found("bfloat16 product, FLOP/s", 2 * side**3 / seconds_of(lambda: a @ b, setting, each=3))
    x = torch.empty(setting.of(1 << 32, 1 << 12), dtype=torch.uint8, device=setting.device)
    y = torch.empty_like(x)
    yield Found("copy, bytes read and written a second", 2 * len(x) / seconds_of(lambda: y.copy_(x), setting, each=3))


def network_seconds(prior: LoadedPrior, count: int, setting: Setting) -> float:
    """Return the seconds of the bare network, as a graph where it can be recorded."""
    side = prior.resolution_px
    dtype = next(prior.network.parameters()).dtype
    x = torch.randn(count, 3, side, side, device=setting.device).to(dtype)
    t = torch.full((count,), 500, device=setting.device)
    with torch.inference_mode(), exact_arithmetic():
        bare: Callable[[], Any] = lambda: (prior.network(x, t).sample,)  # noqa: E731
        recording = record(bare, setting.device) if setting.is_cuda else None
        return seconds_of(recording or bare, setting, repeats=setting.of(5, 1), each=setting.of(4, 1))


def _step(name: str, prior: LoadedPrior, count: int, setting: Setting, *, recorded: bool = True) -> Iterator[Found]:
    """Yield what a step of `count` windows costs, beside the bare network."""
    peak_bytes(setting)
    slots = full_slots(prior, count, setting, recorded=recorded)
    each, repeats = setting.of(4, 1), setting.of(5, 1)  # 24 steps: no chain of 60 ends meanwhile
    step_s = seconds_of(slots.step, setting, repeats=repeats, each=each)
    peak = peak_bytes(setting)
    del slots
    bare_s = network_seconds(prior, count, setting)
    windows = torch.zeros(1, 3, prior.resolution_px, prior.resolution_px)
    flops = count * count_flops(prior.network, windows)
    yield Found(f"{name}, {count} windows: a step", 1e3 * step_s, "ms")
    yield Found(f"{name}, {count} windows: bare network", 1e3 * bare_s, "ms")
    yield Found(f"{name}, {count} windows: outside the network", 100 * (1 - bare_s / step_s), "%")
    yield Found(f"{name}, {count} windows: model FLOP utilisation", 100 * flops / step_s / _PEAK, "% of 989 TFLOP/s")
    if peak:
        yield Found(f"{name}, {count} windows: peak memory", peak / 2**30, "GiB")


def _presets(name: str, step_s: float, count: int) -> Iterator[Found]:
    for preset, sampler in PRESETS.items():
        yield Found(f"{name}: {preset}, windows an hour", 3600 * count / (step_s * sampler.nfe))


def steps_eager(setting: Setting) -> Iterator[Found]:
    """Steps without a compiler: both ways of launching them, precisions, batches from one to the largest."""
    tried: list[tuple[str, Precision, int, bool]] = [("photo", "bfloat16", 16, False), ("photo", "bfloat16", 16, True)]
    tried += [("photo", "float32", 16, True), ("photo", "bfloat16", 256, True), ("faces", "float32", 16, True)]
    tried += [("faces", "bfloat16", batch, True) for batch in (1, 4, 16, 64, 128)]
    for name, precision, batch, recorded in tried:
        how = "replayed" if recorded else "launched"
        try:
            prior = prior_named(name, setting, precision)
            yield from _step(f"{name} {precision} {how}", prior, setting.of(batch, 2), setting, recorded=recorded)
        except torch.OutOfMemoryError:
            yield Found(f"{name} {precision} {how}, {batch} windows", "memory runs out")


def _compiled_steps(name: str, batches: tuple[int, ...], setting: Setting) -> Iterator[Found]:
    if not setting.compiles or missing_compiler():
        yield Found("left out", missing_compiler() or "not asked for")
        return
    prior = compiled(prior_named(name, setting))
    for batch in batches:
        count = setting.of(batch, 2)
        found = list(_step(f"{name} bfloat16 compiled", prior, count, setting))
        yield from found
        yield from _presets(f"{name} compiled, {count} windows", float(found[0].value) / 1e3, count)


def steps_photo(setting: Setting) -> Iterator[Found]:
    """The bundled prior of photographs, compiled."""
    yield from _compiled_steps("photo", (64,), setting)


def steps_faces(setting: Setting) -> Iterator[Found]:
    """The network of 113.7 M parameters, compiled."""
    yield from _compiled_steps("faces", (16, 64), setting)


def steps_guided(setting: Setting) -> Iterator[Found]:
    """guided-diffusion's network of 552.8 M parameters, and the kernels that its attention can take."""
    prior = prior_named("guided", setting)
    yield from _step("guided bfloat16 replayed", prior, setting.of(16, 2), setting)
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "memory-efficient": SDPBackend.EFFICIENT_ATTENTION}
    backends |= {"cuDNN": SDPBackend.CUDNN_ATTENTION, "L×L matrices": SDPBackend.MATH}
    for name, backend in backends.items():
        try:
            with sdpa_kernel(backend):
                seconds = network_seconds(prior, setting.of(16, 2), setting)
            yield Found(f"guided, attention by {name}: bare network", 1e3 * seconds, "ms", ok=True if setting.is_cuda else None)
        except RuntimeError as error:
            ok = False if setting.is_cuda and name == "flash" else None
            yield Found(f"guided, attention by {name}", f"refused: {str(error).split(chr(10))[0][:80]}", ok=ok)


def steps_guided_compiled(setting: Setting) -> Iterator[Found]:
    """The same, compiled."""
    yield from _compiled_steps("guided", (16,), setting)


class _Autocast(torch.nn.Module):
    """A float32 network that computes in bfloat16, as users of diffusers speed theirs up."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, *given: Any, **named: Any) -> Any:
        with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16):
            output = self.network(*given, **named)
        output.sample = output.sample.float()
        return output


def rival(setting: Setting) -> Iterator[Found]:
    """Ours beside diffusers' RePaintPipeline: same process, network, pictures and schedule."""
    plain = prior_named("faces", setting, "float32", channels_last=False)
    count = setting.of(16, 2)
    chains = [chain(plain, number) for number in range(count)]
    known, keep = (torch.stack([getattr(one, name) for one in chains]) for name in ("known", "keep_mask"))
    windows = Windows(known, keep, [one.key for one in chains])
    found = {}
    for how, network in (("float32", plain.network), ("bfloat16 autocast", _Autocast(plain.network))):
        contest = Contest(windows, Stretch() if not setting.tiny else Stretch(20, 3, 3))
        contest.add_deprecated(replace(plain, network=network))
        found[how] = contest.run(setting.of(2, 1))[DEPRECATED].evaluation_s
        yield Found(f"diffusers' RePaint, {how}: an evaluation with its share of steps up", 1e3 * found[how], "ms")
    ours: list[tuple[Precision, bool]] = [("float32", False), ("bfloat16", False)]
    ours += [("bfloat16", True)] if setting.compiles and not missing_compiler() else []
    for precision, is_compiled in ours:
        prior = prior_named("faces", setting, precision)
        prior = compiled(prior) if is_compiled else prior
        slots = full_slots(prior, count, setting)
        step_s = seconds_of(slots.step, setting, repeats=setting.of(5, 1), each=setting.of(4, 1))
        name = f"ours, {precision}{', compiled' if is_compiled else ''}"
        for how, theirs in found.items():
            yield Found(f"{name}: times as fast as {how}, same schedule", theirs / step_s)
        least = min(found.values())
        ratio = PRESETS["paper"].nfe * least / (PRESETS["fast"].nfe * step_s)
        yield Found(f"{name}: times as fast, fast against their paper schedule", ratio)


def layouts(setting: Setting) -> Iterator[Found]:
    """channels_last or not, eager: cuDNN wants the one, torch's GroupNorm makes the other."""
    for name, batch in (("photo", 64), ("faces", 16), ("guided", 8)):
        for last in (True, False):
            prior = prior_named(name, setting, channels_last=last)
            seconds = network_seconds(prior, setting.of(batch, 2), setting)
            yield Found(f"{name}, {'channels_last' if last else 'contiguous'}: bare network, eager", 1e3 * seconds, "ms")


def layouts_compiled(setting: Setting) -> Iterator[Found]:
    """What the compiler makes of the other layout, of more tuning, and of weights that it knows."""
    if not setting.compiles or missing_compiler():
        yield Found("left out", missing_compiler() or "not asked for")
        return
    variants: dict[str, tuple[bool, dict[str, Any], dict[str, Any]]] = {
        "contiguous": (False, {}, {}),
        "weights frozen": (True, {}, {"freezing": True}),
        "max-autotune": (True, {"mode": "max-autotune-no-cudagraphs"}, {}),
    }
    for name, (last, how, settings) in variants.items():
        prior = prior_named("faces", setting, channels_last=last)
        prior.network.compile(dynamic=False, **how)
        with torch._inductor.config.patch(settings) if settings else nullcontext():
            seconds = network_seconds(prior, setting.of(16, 2), setting)
        yield Found(f"faces compiled, {name}: bare network", 1e3 * seconds, "ms")
        torch._dynamo.reset()


def profiled(setting: Setting) -> Iterator[Found]:
    """Which kernels a step of the 113.7 M network spends its time in."""
    prior = prior_named("faces", setting)
    is_compiled = setting.compiles and not missing_compiler()
    prior = compiled(prior) if is_compiled else prior
    slots = full_slots(prior, setting.of(16, 2), setting)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if setting.is_cuda else [])
    with profile(activities=activities) as found:
        for _ in range(3):
            slots.step()
        wait(setting)
    kind = "cuda" if setting.is_cuda else "cpu"
    table = found.key_averages().table(sort_by=f"self_{kind}_time_total", row_limit=40, max_name_column_width=90)
    (setting.output / "profile.txt").write_text(table, encoding="utf-8")
    key = "self_device_time_total" if setting.is_cuda else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events) or 1
    for event in events[:12]:
        yield Found(f"share of {event.key[:70]}", 100 * getattr(event, key) / total, "%")


def job(setting: Setting) -> Iterator[Found]:
    """A whole job through Ray, where Ray is: share of its time that the device works."""
    missing = [name for name in ("ray", "deltalake", "s3fs") if importlib.util.find_spec(name) is None]
    if missing or setting.tiny:
        yield Found("left out", f"{', '.join(missing)} not there" if missing else "a rehearsal")
        return
    from repaint_batch.cli.bench import measure_job

    cost = measure_job("bundled:photo", shards=8, preset="fast", precision="bfloat16", batch_windows=64)
    yield Found("a job: share of its time that its actor samples, once under way", 100 * cost.busy_share, "%")
    yield Found("a job: before its first and after its last shard", cost.fixed_s, "s")
