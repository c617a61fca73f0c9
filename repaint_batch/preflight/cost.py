"""What a job will take: network evaluations, network calls, actor-hours, an end, money.

With B slots a call, W_k windows that row k starts from noise, D_k that it starts from drafts:

    nfe   = candidates x sum over rows of (W_k x NFE of the preset + D_k x its entry NFE)
    calls = nfe / B / share of the slots in use
    hours = calls x seconds of a call / 3600,   money = hours x price

The share is 1 while windows wait for slots, and less at the end: n windows of one length take ceil(n / B) lengths. It is
counted by playing the last windows through the slots, see `repaint_batch.preflight.playing`. Hours are those of the actors
together; divided by their number they are the time to wait.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import torch

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError
from repaint_batch.images.windows import Window
from repaint_batch.inpainting.device import batch_windows_of, compiled, precision_of
from repaint_batch.inpainting.engine import Engine
from repaint_batch.inpainting.restorer import nfe_of
from repaint_batch.preflight.findings import Findings
from repaint_batch.preflight.playing import calls_of
from repaint_batch.priors.load import load_prior
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.presets import sampler_of
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain
from repaint_batch.storage import Storage

_PROBE_CALLS = 5
_PLAYED_BATCHES = 32  # windows that are played through the slots, in batches; what goes before them fills every slot


@dataclass(frozen=True)
class Speed:
    """How fast an actor is.

    Attributes:
        call_s: seconds of a network call.
        batch_windows: windows in it.
    """

    call_s: float
    batch_windows: int

    @classmethod
    def of_window(cls, seconds: float, config: JobConfig) -> "Speed":
        """Return the speed at which a window that starts from noise takes `seconds` while every slot is in use."""
        return cls.of_evaluation(seconds / _sampler(config).nfe, config)

    @classmethod
    def of_evaluation(cls, seconds: float, config: JobConfig) -> "Speed":
        """Return the speed at which a window's network evaluation takes `seconds` while every slot is in use."""
        slots = _slots(config)
        return cls(seconds * slots, slots)


def _sampler(config: JobConfig) -> Sampler:
    return sampler_of(config.sampler.preset, config.sampler.num_steps, config.sampler.own)


def _slots(config: JobConfig) -> int:
    """Return the slots of a call; for `auto` one, as if none were ever empty, since only the device knows."""
    asked = config.compute.batch_windows
    return 1 if asked == "auto" else asked


@dataclass(frozen=True)
class Cost:
    """What a job will take.

    Attributes:
        windows: prior-sized windows.
        nfe: network evaluations.
        calls: network calls of all actors together.
        slots_used: share of the slots of these calls that hold a window.
        actor_hours: hours of all actors together; None if nobody knows how fast they are.
        wall_hours: hours from start to end with all actors.
        money: in the currency of compute.price_per_gpu_hour; None if there is no price.
    """

    windows: float
    nfe: float
    calls: float
    slots_used: float
    actor_hours: float | None
    wall_hours: float | None
    money: float | None

    def finish_at(self, start: datetime) -> datetime | None:
        """Return when a job that starts at `start` will be done."""
        return None if self.wall_hours is None else start + timedelta(hours=self.wall_hours)

    def check_budget(self, config: JobConfig) -> None:
        """Refuse a job that costs more than it may.

        Raises:
            ConfigError: it is over compute.budget, or what it costs is unknown although there is one.
        """
        budget = config.compute.budget
        if budget is None:
            return
        if self.money is None:
            what = "compute.price_per_gpu_hour" if config.compute.price_per_gpu_hour is None else "the seconds of a network call"
            raise ConfigError(f"compute.budget is {budget:g}, but the cost cannot be told without {what}")
        if self.money > budget:
            raise ConfigError(
                f"the job would cost about {self.money:,.2f}, more than compute.budget = {budget:,.2f}: "
                f"{self.nfe:,.0f} network evaluations in {self.actor_hours:,.1f} actor-hours; "
                "choose a cheaper sampler.preset, fewer rows, or raise the budget"
            )


def cost_of(findings: Findings, config: JobConfig, speed: Speed | None, resolution_px: int, actors: int | None = None) -> Cost:
    """Return what a job takes.

    Args:
        findings: what its rows are.
        config: the job.
        speed: of an actor; None: nobody knows.
        resolution_px: side of the prior's input.
        actors: how many there will be; None: the most that the config asks for.
    """
    slots, price = speed.batch_windows if speed else _slots(config), config.compute.price_per_gpu_hour
    actors = max(1, min(actors or config.compute.most_actors, findings.rows))
    nfe = findings.nfe * config.sampler.candidates
    calls = actors * _calls(findings, config, slots, -(-findings.rows // actors), nfe / actors, resolution_px)
    hours = None if speed is None else calls * speed.call_s / 3600
    return Cost(
        windows=findings.windows,
        nfe=nfe,
        calls=calls,
        slots_used=nfe / (calls * slots) if calls else 1.0,
        actor_hours=hours,
        wall_hours=None if hours is None else hours / actors,
        money=None if hours is None or price is None else hours * price,
    )


def _calls(findings: Findings, config: JobConfig, slots: int, rows: int, nfe: float, resolution_px: int) -> float:
    """Return the network calls in which an actor makes `nfe` evaluations of `rows` rows."""
    sampler, candidates = _sampler(config), config.sampler.candidates
    plans = [plan for plan in findings.plans if plan]
    sampled = round(rows * len(plans) / max(1, len(findings.plans)))
    played: list[tuple[Window, ...]] = []
    windows = 0
    while len(played) < sampled and windows < _PLAYED_BATCHES * slots:
        played.append(plans[len(played) % len(plans)])
        windows += candidates * len(played[-1])
    played_nfe = candidates * sum(nfe_of(plan, sampler) for plan in played)
    pictures = [plan for plan in played for _ in range(candidates)]
    return max(nfe / slots, calls_of(pictures, sampler, slots, resolution_px) + (nfe - played_nfe) / slots)


def probe(config: JobConfig, storage: Storage, threads: int | None = None) -> Speed:
    """Return how fast an actor on this machine is, from a few network calls of the engine that it runs.

    Args:
        config: the job.
        storage: how to reach its prior.
        threads: CPU threads of an actor; None: as many as this process has.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _probed(config, storage)
    finally:
        torch.set_num_threads(before)


def _probed(config: JobConfig, storage: Storage) -> Speed:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prior = load_prior(config.prior, storage, device=device, precision=precision_of(config.compute))
    prior = compiled(prior) if config.compute.compile else prior
    batch, side = batch_windows_of(config, prior), prior.resolution_px
    keep_mask = torch.ones(1, side, side, dtype=torch.bool)
    keep_mask[..., side // 4 : side // 2, side // 4 : side // 2] = False
    engine = Engine(prior, AnnealedLangevin(_PROBE_CALLS), batch)
    chains = [Chain(key, torch.zeros(prior.channels, side, side), keep_mask) for key in range(batch)]
    for chain in chains:
        engine.enqueue(chain)
    engine.step()  # the first call also pays for what is set up once
    engine.states()  # waits for the device
    started = time.perf_counter()
    while not engine.is_idle:
        engine.step()
    return Speed((time.perf_counter() - started) / (engine.calls - 1), batch)
