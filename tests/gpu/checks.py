"""What must hold on a device."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repaint_batch.config import ComputeConfig
from repaint_batch.inpainting.device import largest_batch, missing_compiler, take_share
from repaint_batch.inpainting.engine import Engine
from repaint_batch.priors.load import Precision
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.arithmetic import exact_arithmetic
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import key_words, keyed_normal, sample_key
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.recording import record
from repaint_batch.sampler.sampler import Sampler

from ..golden_vectors import replayed
from .clock import memory_for, no_waiting, wait
from .networks import PRECISIONS, chain, compiled, prior_named, slots_of
from .parts import Found, Setting

_SHORT = AnnealedLangevin(6)
_SLOTS = 4
_NOISE_TOLERANCE = 1e-6
_LEVEL = 2 / 255  # of a range from -1 to 1


def noise(setting: Setting) -> Iterator[Found]:
    """Keyed noise is that of a CPU."""
    keys = key_words([sample_key(3, str(number)) for number in range(8)])
    draws = torch.arange(8) * 301
    here = keyed_normal(keys, draws, (3, 64, 64))
    keys, draws = keys.to(setting.device), draws.to(setting.device)
    there = keyed_normal(keys, draws, (3, 64, 64))
    worst = float((there.cpu() - here).abs().max())
    yield Found("keyed noise, largest difference from a CPU's", worst, ok=worst <= _NOISE_TOLERANCE)
    if setting.is_cuda:
        recording = record(lambda: (keyed_normal(keys, draws, (3, 64, 64)),), setting.device)
        yield Found("keyed noise can be recorded", str(recording is not None), ok=recording is not None)
        if recording is not None:
            yield Found("keyed noise replayed, bit for bit", "", ok=torch.equal(recording()[0], there))
    if setting.compiles and missing_compiler() is None:
        fused = torch.compile(keyed_normal, dynamic=False)(keys, draws, (3, 64, 64))
        worst = float((fused.cpu() - here).abs().max())
        yield Found("keyed noise compiled, largest difference from a CPU's", worst, ok=worst <= 2 * _NOISE_TOLERANCE)


def restored(
    prior: LoadedPrior,
    numbers: Sequence[int],
    setting: Setting,
    *,
    sampler: Sampler = _SHORT,
    recorded: bool = True,
    stop_after: int | None = None,
) -> dict[int, Tensor]:
    """Return restored windows by number, from `_SLOTS` slots that are filled in this order.

    Args:
        prior, numbers, setting, sampler: what, which, where, how.
        recorded: replay steps as a graph.
        stop_after: take all chains out after so many steps and go on with them in other slots.
    """
    waiting = [(number, chain(prior, number)) for number in numbers]
    every, slots, steps = dict(waiting), slots_of(prior, _SLOTS, setting, sampler, recorded=recorded), 0
    while waiting or not slots.is_empty:
        free = len(slots.free)
        if waiting and free:
            slots.put([one for _, one in waiting[:free]])
            waiting = waiting[free:]
        slots.step()
        steps += 1
        if steps == stop_after:
            slots.drain()
            taken = slots.take_out()
            slots = slots_of(prior, _SLOTS, setting, sampler, recorded=recorded)
            slots.put(taken[::-1])
        if all(one is None for one in slots.chains):
            slots.drain()
    return {number: one.restored for number, one in every.items() if one.restored is not None}


def _same(found: dict[int, Tensor], expected: dict[int, Tensor]) -> bool:
    return all(torch.equal(found[number], expected[number]) for number in found) and bool(found)


def _levels(found: dict[int, Tensor], expected: dict[int, Tensor]) -> tuple[float, float]:
    differences = torch.stack([(found[number] - expected[number]).abs() for number in expected]) / _LEVEL
    return float(differences.mean()), float(differences.max())


def _independent(prior: LoadedPrior, name: str, setting: Setting) -> Iterator[Found]:
    numbers = range(7)
    whole = restored(prior, numbers, setting)
    yield Found(f"{name}: finite", "", ok=all(bool(one.isfinite().all()) for one in whole.values()))
    yield Found(f"{name}: order", "", ok=_same(restored(prior, numbers[::-1], setting), whole))
    yield Found(f"{name}: neighbours", "", ok=_same(restored(prior, [5], setting) | restored(prior, [2, 3], setting), whole))
    yield Found(f"{name}: interruption", "", ok=_same(restored(prior, numbers, setting, stop_after=3), whole))
    if setting.is_cuda:
        launched = restored(prior, numbers, setting, recorded=False)
        yield Found(f"{name}: launched one by one as replayed", "", ok=_same(launched, whole))


def independence(setting: Setting) -> Iterator[Found]:
    """A window's bytes depend on nothing but itself, in any precision."""
    for precision in PRECISIONS:
        yield from _independent(prior_named("photo", setting, precision), precision, setting)


def _fast(prior: LoadedPrior, setting: Setting) -> dict[int, Tensor]:
    return restored(prior, range(7), setting, sampler=_SHORT if setting.tiny else PRESETS["fast"])


def rounding(setting: Setting) -> Iterator[Found]:
    """What lower precision changes in a restoration."""
    exact = prior_named("photo", setting, "float32")
    expected = _fast(exact, setting)
    for precision in PRECISIONS[1:]:
        yield from _told(f"{precision} beside float32", _fast(prior_named("photo", setting, precision), setting), expected)
    yield from _told("TF32 beside float32", _fast(replace(exact, network=_Tf32(exact.network)), setting), expected)


def independence_compiled(setting: Setting) -> Iterator[Found]:
    """The same of compiled networks."""
    if not setting.compiles or (reason := missing_compiler()):
        yield Found("left out", "not asked for" if not setting.compiles else str(reason))
        return
    for precision in ("bfloat16",) if setting.is_cuda else ("float32",):
        chosen: Precision = precision  # type: ignore[assignment]
        eager = _fast(prior_named("photo", setting, chosen), setting)
        prior = compiled(prior_named("photo", setting, chosen))
        yield from _independent(prior, f"compiled {precision}", setting)
        yield from _told(f"compiled beside eager, {precision}", _fast(prior, setting), eager)


def _told(name: str, found: dict[int, Tensor], expected: dict[int, Tensor]) -> Iterator[Found]:
    mean, most = _levels(found, expected)
    yield Found(f"{name}: mean difference", mean, "levels of 255")
    yield Found(f"{name}: largest", most, "levels of 255")


class _Tf32(torch.nn.Module):
    """A network with TF32, which nothing but this measurement uses."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.config = network, network.config

    def forward(self, *given: Any, **named: Any) -> Any:
        cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
        before = cudnn.allow_tf32, products.allow_tf32
        cudnn.allow_tf32, products.allow_tf32 = True, True
        try:
            return self.network(*given, **named)
        finally:
            cudnn.allow_tf32, products.allow_tf32 = before


def golden(setting: Setting) -> Iterator[Found]:
    """The authors' recorded trajectories on the device."""
    for name in ("start_resampling",) if setting.tiny else ("uncond", "start_resampling", "guided"):
        worst = max(replayed(name, setting.device).values())
        yield Found(f"recorded trajectory {name}, largest difference", worst, ok=worst < 1e-3)


def no_waits(setting: Setting) -> Iterator[Found]:
    """Neither a step nor new chains nor those that leave make the host wait."""
    for precision, recorded in (("float32", False), ("bfloat16", True)):
        chosen: Precision = precision  # type: ignore[assignment]
        prior = prior_named("photo", setting, chosen)
        slots = slots_of(prior, _SLOTS, setting, _SHORT, recorded=recorded)
        for number in (0, 2):  # both kinds of step, with drafts and without, are recorded at their first
            slots.put([chain(prior, number)])
            slots.step()
        chains = [chain(prior, number) for number in range(3, 8)]
        with no_waiting(setting):
            while any(one is not None for one in slots.chains) or chains:
                if chains and slots.free:
                    slots.put([chains.pop()])
                slots.step()
        slots.drain()
        how = "replayed" if recorded else "launched one by one"
        yield Found(f"no wait in {slots.calls} steps, {precision}, {how}", "", ok=True)


class _Greedy:
    """A prior that wants more memory than there is: in batches of more than `most` windows, always or while it is recorded."""

    def __init__(self, prior: LoadedPrior, most: int, *, in_capture: bool, setting: Setting) -> None:
        self._prior, self._most, self._in_capture, self._setting = prior, most, in_capture, setting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prior, name)

    def labelled(self, labels: Sequence[int] | None, count: int) -> "_Greedy":
        return self

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        capturing = self._setting.is_cuda and torch.cuda.is_current_stream_capturing()
        if len(x_t) > self._most and (capturing or not self._in_capture):
            if not self._setting.is_cuda:
                raise torch.OutOfMemoryError("a test's own limit")
            torch.empty(1 << 42, dtype=torch.uint8, device=self._setting.device)
        return self._prior(x_t, t)


def _shrinks(prior: Any, batch: int, setting: Setting) -> tuple[int, dict[int, Tensor]]:
    engine = Engine(prior, _SHORT, batch, may_shrink=True)
    chains = {number: chain(prior, number) for number in range(7)}
    engine.run(list(chains.values()))
    return engine.batch_windows, {number: one.restored for number, one in chains.items() if one.restored is not None}


def memory(setting: Setting) -> Iterator[Found]:
    """When memory runs out there are fewer slots, and every chain goes on."""
    prior = prior_named("photo", setting, "float32")
    expected = _shrinks(prior, 2, setting)[1]
    greedy = _Greedy(prior, 2, in_capture=False, setting=setting)
    count, found = _shrinks(greedy, 8, setting)
    yield Found("in a step: slots left of 8", count, ok=count == 2)
    yield Found("in a step: results as with 2 from the start", "", ok=_same(found, expected))
    if setting.is_cuda:
        count, found = _shrinks(_Greedy(prior, 2, in_capture=True, setting=setting), 8, setting)
        yield Found("while a step is recorded: slots left of 8", count, ok=count in (2, 8))
        yield Found("while a step is recorded: every chain came out", len(found), ok=len(found) == 7)
    before = torch.cuda.memory_reserved(setting.device) if setting.is_cuda else 0
    with memory_for(3 << 30, setting):
        count, found = _shrinks(prior, setting.of(1024, 4), setting)
    yield Found("really, in 3 GiB: slots left of 1024", count, ok=len(found) == 7)
    if setting.is_cuda:
        torch.cuda.empty_cache()
        kept = torch.cuda.memory_reserved(setting.device) - before
        yield Found("kept by torch afterwards", kept / 2**20, "MiB", ok=kept < 1 << 30)


def auto_batch(setting: Setting) -> Iterator[Found]:
    """The batch that `auto` finds is one that sampling fits in."""
    for name in ("photo", "faces"):
        prior = prior_named(name, setting)
        found = largest_batch(prior, setting.of(256, 4))
        chains = [chain(prior, number) for number in range(setting.of(64, 5))]
        engine = Engine(prior, AnnealedLangevin(2), found, may_shrink=True)
        engine.run(chains)
        wait(setting)
        yield Found(f"{name}: auto takes, and keeps", found, "windows", ok=engine.batch_windows == found)


def half(setting: Setting) -> None:
    """Be one of two processes that share a device: restore on a half of it, and print what came of it."""
    if setting.is_cuda:
        take_share(ComputeConfig(num_gpus=0.5))
    prior = prior_named("photo", setting)
    batch = largest_batch(prior, setting.of(256, 4))
    digest = digest_of(restored(prior, range(7), setting))
    peak = torch.cuda.max_memory_reserved(setting.device) if setting.is_cuda else 0
    print(json.dumps({"digest": digest, "batch": batch, "peak": peak}), flush=True)


_HOLDER = """
import sys, torch
device = torch.device(sys.argv[1])
free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
held = torch.empty(max(free - (4 << 30), 1024), dtype=torch.uint8, device=device)
print("{}", flush=True)
sys.stdin.readline()
"""
"""A process that holds all memory but 4 GiB until it is told."""


def _started(*arguments: str) -> "subprocess.Popen[str]":
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, *arguments], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return what a process prints as JSON, after whatever else it prints."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise RuntimeError(f"the other process ended with {process.wait()}")


def digest_of(found: dict[int, Tensor]) -> str:
    """Return a hash of restored windows."""
    digest = hashlib.sha256()
    for number in sorted(found):
        digest.update(found[number].numpy().tobytes())
    return digest.hexdigest()[:16]


def neighbours(setting: Setting) -> Iterator[Found]:
    """Two processes on one device, each with half of it; and one beside a process that holds most of it."""
    command = ["-m", "tests.gpu", "--device", str(setting.device), "--child", "half", *(["--tiny"] if setting.tiny else [])]
    halves = [_started(*command) for _ in range(setting.of(2, 1))]
    holder = None
    try:
        ours = digest_of(restored(prior_named("photo", setting), range(7), setting))
        for process in halves:
            found = _line(process)
            yield Found("half a device: the same bytes", str(found["batch"]), "windows by auto", ok=found["digest"] == ours)
            if setting.is_cuda:
                total = torch.cuda.get_device_properties(setting.device).total_memory
                yield Found("half a device: share taken", found["peak"] / total, ok=found["peak"] <= total / 2)
            process.wait()
        holder = _started("-c", _HOLDER, str(setting.device))
        _line(holder)
        count, here = _shrinks(prior_named("photo", setting, "float32"), setting.of(1024, 4), setting)
        yield Found("beside a process that holds all but 4 GiB: slots left of 1024", count, ok=len(here) == 7)
    finally:
        for process in (*halves, *([holder] if holder else [])):
            process.kill()
            process.communicate()


def second_device(setting: Setting) -> Iterator[Found]:
    """A device that is not the first."""
    count = torch.cuda.device_count() if setting.is_cuda else 0
    if count < 2:
        yield Found("left out", f"{count} CUDA devices")
        return
    here, there = (replace(setting, device=torch.device("cuda", index)) for index in (0, 1))
    first, other = (restored(prior_named("photo", at), range(7), at) for at in (here, there))
    yield Found("the second device: the same bytes as the first", "", ok=_same(other, first))
    with exact_arithmetic():
        yield from no_waits(there)
