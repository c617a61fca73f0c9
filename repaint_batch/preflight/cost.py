"""What a job will take: network evaluations, GPU-hours, an end, money.

    nfe = windows x candidates x NFE of the preset,   money = hours x price,
    hours = windows x candidates x seconds_per_window / 3600

That is the most it can be: windows that start from a coarser one cost about half. Hours are those of the actors together;
divided by their number they are the time to wait.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import torch

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.device import batch_windows_of
from repaint_batch.preflight.findings import Findings
from repaint_batch.priors.load import load_prior
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage

_PROBE_STEPS = 4


@dataclass(frozen=True)
class Cost:
    """What a job will take.

    Attributes:
        windows: prior-sized windows.
        nfe: network evaluations.
        gpu_hours: hours of all actors together; None if nobody knows how fast they are.
        wall_hours: hours from start to end with the most actors that the config asks for.
        money: in the currency of compute.price_per_gpu_hour; None if there is no price.
    """

    windows: float
    nfe: float
    gpu_hours: float | None
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
            what = "compute.price_per_gpu_hour" if config.compute.price_per_gpu_hour is None else "the seconds of a window"
            raise ConfigError(f"compute.budget is {budget:g}, but without {what} nobody knows what the job costs")
        if self.money > budget:
            raise ConfigError(
                f"the job would cost about {self.money:,.2f}, more than compute.budget = {budget:,.2f}: "
                f"{self.windows:,.0f} windows in {self.gpu_hours:,.1f} GPU-hours; "
                "choose a cheaper sampler.preset, fewer rows, or raise the budget"
            )


def cost_of(findings: Findings, config: JobConfig, seconds_per_window: float | None) -> Cost:
    """Return what a job takes, given what its rows are and how long an actor works on a window."""
    windows, compute = findings.windows, config.compute
    sampled = windows * config.sampler.candidates
    hours = None if seconds_per_window is None else sampled * seconds_per_window / 3600
    most = compute.most_actors
    price = compute.price_per_gpu_hour
    return Cost(
        windows=windows,
        nfe=sampled * PRESETS[config.sampler.preset].nfe,
        gpu_hours=hours,
        wall_hours=None if hours is None else hours / most,
        money=None if hours is None or price is None else hours * price,
    )


def probe(config: JobConfig, storage: Storage) -> float:
    """Return the seconds that one actor on this machine takes for a window, from a few network evaluations of a batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prior = load_prior(config.prior, storage, device=device, precision=config.compute.precision)
    pipeline, batch, side = RePaintPipeline.from_prior(prior), batch_windows_of(config, prior), prior.resolution_px
    known = torch.zeros(batch, 3, side, side)
    keep_mask = torch.ones(batch, 1, side, side, dtype=torch.bool)
    keep_mask[..., side // 4 : side // 2, side // 4 : side // 2] = False
    seconds = 0.0
    for steps in (1, _PROBE_STEPS):  # the first call also pays for what is set up once
        started = time.perf_counter()
        sampler = AnnealedLangevin(steps)
        restored = pipeline.restore(known, keep_mask, range(batch), sampler=sampler, batch_windows=batch)
        restored.sum().item()  # waits for the device
        seconds = (time.perf_counter() - started) / sampler.nfe
    return seconds * PRESETS[config.sampler.preset].nfe / batch
