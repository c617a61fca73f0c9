"""What a restoration costs, beside diffusers' deprecated RePaintPipeline: same process, prior, pictures and schedule.

Engines take turns in short rounds, so that whatever else the machine does slows all of them, and every speed-up is the median
over rounds of a ratio within one round. Absolute seconds hold for one machine on one day; the ratios are what is claimed.

A round is a stretch of the schedule: some of its jumps, each the ten steps down and the jump up that make up most of the
paper's 250/10/10. Whole schedules are extrapolated from it, which is exact up to the mix of steps: a stretch has as many
steps up as down, the whole schedule 0.9 times as many.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from diffusers import RePaintPipeline as DeprecatedPipeline
from diffusers import RePaintScheduler
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from repaint_batch.config import ImagesConfig
from repaint_batch.evaluate.memory import PeakMemory
from repaint_batch.evaluate.ratio import Ratio, ratio
from repaint_batch.images.restoration import prepare
from repaint_batch.inpainting.engine import Engine
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.path import Move, Undo
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain

DEPRECATED = "diffusers"
"""Name of the engine that others are compared with."""
_PEAK_FLOPS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bfloat16 peaks by part of the device's name, from the makers' data sheets; the first match counts."""


@dataclass(frozen=True, eq=False)
class Windows:
    """What is restored.

    Attributes:
        known: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        keys: B noise keys.
    """

    known: Tensor
    keep_mask: Tensor
    keys: Sequence[int]


def demo_windows(resolution_px: int, count: int) -> Windows:
    """Return the first `count` windows of the bundled emoji pictures, over again if there are fewer."""
    with as_file(files("repaint_batch") / "assets" / "emoji.parquet") as path:
        rows = pq.read_table(path, columns=["image", "mask"]).slice(0, count).to_pylist()
    prepared = [prepare(row["image"]["bytes"], row["mask"]["bytes"], ImagesConfig(), resolution_px) for row in rows]
    known = torch.from_numpy(np.concatenate([one.windows for one in prepared])).permute(0, 3, 1, 2)
    keep = torch.from_numpy(np.concatenate([one.keep_mask for one in prepared]))[:, None]
    repeats = -(-count // len(known))
    known, keep = known.repeat(repeats, 1, 1, 1)[:count], keep.repeat(repeats, 1, 1, 1)[:count]
    return Windows(known.contiguous(), keep.contiguous(), [sample_key(0, f"bench-{i}") for i in range(count)])


@dataclass(frozen=True)
class Stretch(RePaint):
    """Some jumps out of the middle of a schedule: from the first jump on, each after the steps down that lead to it.

    Attributes:
        cycles: how many jumps, fewer than jump_n_sample.
    """

    cycles: int = 1

    @property
    def path(self) -> Sequence[Move]:
        whole = super().path
        first = next(i for i, step in enumerate(whole) if isinstance(step, Undo))
        start = first - self.jump_length
        return whole[start : start + (self.jump_length + 1) * self.cycles]


class StretchScheduler(RePaintScheduler):  # type: ignore[misc]
    """diffusers' scheduler, cut to the same stretch."""

    cycles = 1
    timesteps: Tensor

    def set_timesteps(self, num_inference_steps: int, jump_length: int = 10, *more: Any) -> None:
        """Set the stretch's timesteps; a step up is one of them here, where `Stretch` jumps at once."""
        super().set_timesteps(num_inference_steps, jump_length, *more)
        falls = (self.timesteps[1:] < self.timesteps[:-1]).tolist()
        first = falls.index(False) + 1
        start = first - jump_length
        self.timesteps = self.timesteps[start : start + 2 * jump_length * self.cycles]


class TimedNetwork(nn.Module):
    """A network with a stopwatch, in the place of that network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.config = network.config
        self._laps: list[Callable[[], float]] = []

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(self.network.parameters()).device

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        return len(self._laps)

    @property
    def seconds(self) -> float:
        """Time they took; waits for the device."""
        synchronise(self.device)
        return sum(lap() for lap in self._laps)

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Tensor | None = None) -> Any:
        """Call the network."""
        if self.device.type == "cuda":
            # Events are recorded in the stream and read afterwards: no waiting in the loop.
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            output = self.network(sample, timestep, class_labels=class_labels)
            end.record()
            self._laps.append(lambda: begin.elapsed_time(end) / 1e3)
            return output
        started = time.perf_counter()
        output = self.network(sample, timestep, class_labels=class_labels)
        elapsed = time.perf_counter() - started
        self._laps.append(lambda: elapsed)
        return output


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Round:
    """One run of one engine over one stretch.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: of all threads of this process.
        network_seconds: of `seconds`, those within the network.
        evaluations: network calls.
        peak_bytes: most memory, of the device or the process.
    """

    seconds: float
    cpu_seconds: float
    network_seconds: float
    evaluations: int
    peak_bytes: int


@dataclass(frozen=True)
class EngineCost:
    """What an engine costs.

    Attributes:
        name: of the engine.
        batch_windows: pictures in a network call.
        rounds: as measured.
        flops: of one network call, by count.
        device_name: as torch names it.
    """

    name: str
    batch_windows: int
    rounds: tuple[Round, ...]
    flops: int
    device_name: str

    @property
    def evaluation_s(self) -> float:
        """Median seconds of one evaluation of a batch, with all that belongs to its step."""
        return statistics.median(self.evaluations_s())

    @property
    def non_network_share(self) -> float:
        """Median share of a step that is not the network, 0 .. 1."""
        return statistics.median(1 - one.network_seconds / one.seconds for one in self.rounds)

    @property
    def flops_per_s(self) -> float:
        """Floating-point operations a second, the network's alone counted, over the whole step."""
        return self.flops / self.evaluation_s

    @property
    def mfu(self) -> float | None:
        """Share of the device's peak in bfloat16; None where the peak is not known."""
        peaks = [peak for part, peak in _PEAK_FLOPS.items() if part in self.device_name]
        return self.flops_per_s / peaks[0] if peaks else None

    def images_per_hour(self, nfe: int) -> float:
        """Pictures an hour of one engine, at `nfe` evaluations each."""
        return 3600 * self.batch_windows / (self.evaluation_s * nfe)

    def evaluations_s(self, seconds: str = "seconds") -> list[float]:
        """Return the seconds of one evaluation of a batch in each round.

        Args:
            seconds: ``seconds`` for wall-clock time, ``cpu_seconds`` for the processor's.
        """
        return [getattr(one, seconds) / one.evaluations for one in self.rounds]

    def speed_up(self, other: "EngineCost", seconds: str = "seconds") -> Ratio:
        """Return how many times as fast an evaluation is as one of `other`, which was measured in the same rounds."""
        return ratio(other.evaluations_s(seconds), self.evaluations_s(seconds))

    def whole_speed_up(self, nfe: int, other: "EngineCost", other_nfe: int) -> Ratio:
        """Return how many times as fast `nfe` evaluations are as `other_nfe` of `other`, measured in the same rounds."""
        return ratio([other_nfe * one for one in other.evaluations_s()], [nfe * one for one in self.evaluations_s()])


@dataclass(frozen=True, eq=False)
class Contest:
    """Engines that take turns.

    Attributes:
        windows: one batch.
        stretch: of the schedule.
        engines: by name; each a `TimedNetwork`, and what runs it with all that is around it.
    """

    windows: Windows
    stretch: Stretch
    engines: dict[str, tuple[TimedNetwork, Callable[[], object]]] = field(default_factory=dict)

    def add_deprecated(self, prior: LoadedPrior) -> None:
        """Enter diffusers' pipeline around the network of `prior`."""
        timed = TimedNetwork(prior.network)
        scheduler = StretchScheduler(trained_betas=prior.schedule.betas.to(torch.float32).numpy())
        scheduler.cycles = self.stretch.cycles
        pipeline = DeprecatedPipeline(timed, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        settings = {"eta": self.stretch.eta, "output_type": "np", "generator": torch.Generator(timed.device).manual_seed(0)}
        shape = self.stretch.num_steps, self.stretch.jump_length, self.stretch.jump_n_sample
        names = "num_inference_steps", "jump_length", "jump_n_sample"
        settings |= dict(zip(names, shape, strict=True))
        keep = self.windows.keep_mask.to(torch.float32)
        self.engines[DEPRECATED] = timed, lambda: pipeline(self.windows.known, keep, **settings)

    def add(self, name: str, prior: LoadedPrior, sampler: Sampler | None = None) -> None:
        """Enter the engine of this package around `prior`, with the stretch or a sampler of its own."""
        timed, known = TimedNetwork(prior.network), self.windows.known.cpu()
        windows = list(zip(self.windows.keys, known, self.windows.keep_mask.cpu(), strict=True))
        # Launched one by one, since a recorded step does not call the network, and its stopwatch would stand still.
        size_px = known.shape[2], known.shape[3]
        prior = replace(prior, network=timed)
        engine = Engine(prior, sampler or self.stretch, len(windows), size_px=size_px, recorded=False)
        self.engines[name] = timed, lambda: engine.run([Chain(*window) for window in windows])

    def run(self, rounds: int, report: Callable[[str], None] = lambda line: None) -> dict[str, EngineCost]:
        """Return the cost of every engine, measured in `rounds` turns; a first one warms them up and does not count."""
        measured: dict[str, list[Round]] = {name: [] for name in self.engines}
        for number in range(rounds + 1):
            for name, (timed, run) in self.engines.items():
                one = _measure(timed, run)
                report(f"round {number} of {rounds}: {name}, {1e3 * one.seconds / one.evaluations:.0f} ms an evaluation")
                if number:
                    measured[name].append(one)
        return {name: self._cost(name, of_one) for name, of_one in measured.items()}

    def _cost(self, name: str, rounds: Sequence[Round]) -> EngineCost:
        timed, _ = self.engines[name]
        gpu = timed.device.type == "cuda"
        device_name = torch.cuda.get_device_name(timed.device) if gpu else "CPU"
        batch = len(self.windows.keys)
        return EngineCost(name, batch, tuple(rounds), count_flops(timed.network, self.windows.known), device_name)


def _measure(timed: TimedNetwork, run: Callable[[], object]) -> Round:
    calls, network_s = timed.calls, timed.seconds
    with PeakMemory(timed.device) as memory:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        synchronise(timed.device)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return Round(seconds, cpu_seconds, timed.seconds - network_s, timed.calls - calls, memory.peak_bytes)


def count_flops(network: nn.Module, windows: Tensor) -> int:
    """Return the floating-point operations of one evaluation of `windows` (B, C, H, W); a multiply-add is two."""
    parameter = next(network.parameters())
    x = windows.to(device=parameter.device, dtype=parameter.dtype)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.compiler.set_stance("force_eager"):
        network(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))
    return int(counter.get_total_flops())


def told(found: Ratio) -> dict[str, Any]:
    """Return a ratio for JSON; where it is not supported its value is None, and why is said."""
    refusal = found.refusal
    return {"value": None if refusal else found.value, "interval": found.interval, "rounds": found.rounds, "refusal": refusal}


def describe(costs: Mapping[str, EngineCost], paper_nfe: int) -> list[dict[str, Any]]:
    """Return the figures of every engine, for a table or JSON; speed-ups are over diffusers' pipeline."""
    base = costs[DEPRECATED]
    return [
        {
            "engine": name,
            "evaluation_ms": 1e3 * cost.evaluation_s,
            "non_network_share": cost.non_network_share,
            "images_per_hour": cost.images_per_hour(paper_nfe),
            "speed_up": told(cost.speed_up(base)),
            "speed_up_cpu": told(cost.speed_up(base, "cpu_seconds")),
            "peak_bytes": max(one.peak_bytes for one in cost.rounds),
            "flops_per_s": cost.flops_per_s,
            "mfu": cost.mfu,
        }
        for name, cost in costs.items()
    ]
