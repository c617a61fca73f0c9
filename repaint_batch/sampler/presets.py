"""Samplers with their settings: what a preset is, and what it costs.

A sampler here is a frozen value. Its fields decide the result and go into the fingerprint; `nfe` is its price.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypedDict, Unpack

import torch
from torch import Tensor

from repaint_batch.errors import PriorError
from repaint_batch.sampler.langevin import annealed_langevin, langevin
from repaint_batch.sampler.levels import power_grid
from repaint_batch.sampler.noise import Noise
from repaint_batch.sampler.path import Jump, Reverse, Step, jump_times, steps
from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.projected import projected
from repaint_batch.sampler.repaint import ChainState, OnStep, repaint

_ENTRY_TIME = 0.25


class Options(TypedDict, total=False):
    """What a run may be given beside the pictures, whatever the sampler."""

    guidance: Guidance | None
    """Gradient added to every reverse step."""
    resume: ChainState | None
    """A state handed to `on_step` by an interrupted run."""
    on_step: OnStep | None
    """Called after every step."""


class Sampler(Protocol):
    """Settings of one algorithm, ready to be run on any prior."""

    @property
    def nfe(self) -> int:
        """Network evaluations a window costs."""

    @property
    def positions(self) -> int:
        """Steps of its path, as `ChainState.position` counts them."""

    @property
    def entry(self) -> int:
        """Position at which a chain enters that starts from a coarser picture, see `repaint_batch.sampler.drafts`."""

    @property
    def entry_nfe(self) -> int:
        """Network evaluations that such a chain costs."""

    def alpha_bar(self, prior: Prior, position: int) -> float:
        """Return the signal variance of x_t at a position from which the next step is one down."""

    def describe(self) -> dict[str, Any]:
        """Return the algorithm's name and every setting, as JSON-serialisable values."""

    def sample(
        self, prior: Prior, known: Tensor, keep_mask: Tensor, noise: Noise, **options: Unpack[Options]
    ) -> Tensor:
        """Return restored pictures, (B, C, H, W) float32; see `repaint_batch.sampler.repaint.repaint`."""


@dataclass(frozen=True)
class RePaint:
    """The paper's sampler.

    Attributes:
        num_steps: steps of the respaced process.
        jump_length: j, levels that a jump goes up.
        jump_n_sample: r, how often each stretch is sampled.
        eta: 1 ancestral, 0 DDIM.
    """

    num_steps: int = 250
    jump_length: int = 10
    jump_n_sample: int = 10
    eta: float = 1.0

    @property
    def path(self) -> Sequence[Step]:
        """The steps down and up, undo jumps collapsed."""
        jumps = [Jump(self.jump_length, self.jump_n_sample)] if self.jump_n_sample > 1 else []
        return tuple(steps(jump_times(self.num_steps, jumps)))

    @property
    def nfe(self) -> int:
        jumps = len(range(0, self.num_steps - self.jump_length, self.jump_length)) * (self.jump_n_sample - 1)
        return self.num_steps + jumps * self.jump_length

    @property
    def positions(self) -> int:
        return len(self.path)

    @property
    def entry(self) -> int:
        return _entry([step.index / self.num_steps if isinstance(step, Reverse) else 1.0 for step in self.path])

    @property
    def entry_nfe(self) -> int:
        return sum(isinstance(step, Reverse) for step in self.path[self.entry :])

    def alpha_bar(self, prior: Prior, position: int) -> float:
        return float(prior.schedule.respaced(self.num_steps).alpha_bar[_level(self.path, position)])

    def describe(self) -> dict[str, Any]:
        return {"sampler": "repaint", **asdict(self)}

    def sample(
        self, prior: Prior, known: Tensor, keep_mask: Tensor, noise: Noise, **options: Unpack[Options]
    ) -> Tensor:
        if self.num_steps > len(prior.schedule):
            raise PriorError(f"{self.num_steps} steps were asked of a prior that has {len(prior.schedule)}; ask for fewer")
        schedule = prior.schedule.respaced(self.num_steps)
        return repaint(
            prior,
            known,
            keep_mask,
            noise,
            schedule=schedule,
            path=self.path,
            eta=self.eta,
            **options,
        )


@dataclass(frozen=True)
class Projected:
    """DDNM's sampler.

    Attributes:
        num_steps: steps down, on a grid of times ~ u^power.
        eta: share of fresh noise in a step.
        power: over 1 is finer at weak noise.
        jump_length: j, levels that a jump goes up.
        jump_n_sample: r, how often each stretch is sampled.
    """

    num_steps: int = 100
    eta: float = 0.85
    power: float = 1.0
    jump_length: int = 10
    jump_n_sample: int = 1

    @property
    def path(self) -> Sequence[Step]:
        """The steps down and up, undo jumps collapsed."""
        return RePaint(self.num_steps, self.jump_length, self.jump_n_sample).path

    @property
    def nfe(self) -> int:
        return RePaint(self.num_steps, self.jump_length, self.jump_n_sample).nfe

    @property
    def positions(self) -> int:
        return len(self.path)

    @property
    def entry(self) -> int:
        levels = [step.index if isinstance(step, Reverse) else self.num_steps for step in self.path]
        return _entry([((level + 1) / self.num_steps) ** self.power for level in levels])

    @property
    def entry_nfe(self) -> int:
        return sum(isinstance(step, Reverse) for step in self.path[self.entry :])

    def alpha_bar(self, prior: Prior, position: int) -> float:
        grid = power_grid(self.num_steps, self.power, len(prior.schedule))
        return float(prior.schedule.alpha_bar[grid[::-1][_level(self.path, position)]])

    def describe(self) -> dict[str, Any]:
        return {"sampler": "projected", **asdict(self)}

    def sample(
        self, prior: Prior, known: Tensor, keep_mask: Tensor, noise: Noise, **options: Unpack[Options]
    ) -> Tensor:
        grid = power_grid(self.num_steps, self.power, len(prior.schedule))
        return projected(
            prior,
            known,
            keep_mask,
            noise,
            schedule=prior.schedule.at(torch.tensor(grid[::-1])),
            path=self.path,
            eta=self.eta,
            **options,
        )


@dataclass(frozen=True)
class Langevin:
    """Guided Langevin corrections at each of a few levels, as LanPaint's.

    Attributes:
        num_levels: L.
        corrections: K, Langevin steps at each level before it is left by a DDIM step.
        h: time of one correction.
        pull: strength of the bidirectional guidance.
        power: levels lie at times ~ u^power.
    """

    num_levels: int = 12
    corrections: int = 4
    h: float = 1.2
    pull: float = 30.0
    power: float = 1.7

    @property
    def nfe(self) -> int:
        return self.num_levels * (self.corrections + 1)

    @property
    def positions(self) -> int:
        return self.nfe

    @property
    def entry(self) -> int:
        return _entry(_shares(self.num_levels, self.power)) * (self.corrections + 1)

    @property
    def entry_nfe(self) -> int:
        return self.nfe - self.entry

    def alpha_bar(self, prior: Prior, position: int) -> float:
        indices = power_grid(self.num_levels, self.power, len(prior.schedule))
        return float(prior.schedule.alpha_bar[indices[position // (self.corrections + 1)]])

    def describe(self) -> dict[str, Any]:
        return {"sampler": "langevin", **asdict(self)}

    def sample(
        self, prior: Prior, known: Tensor, keep_mask: Tensor, noise: Noise, **options: Unpack[Options]
    ) -> Tensor:
        return langevin(
            prior,
            known,
            keep_mask,
            noise,
            schedule=prior.schedule,
            indices=power_grid(self.num_levels, self.power, len(prior.schedule)),
            corrections=self.corrections,
            h=self.h,
            pull=self.pull,
            **options,
        )


@dataclass(frozen=True)
class AnnealedLangevin:
    """Guided Langevin steps that descend, one network evaluation each, with averaged noise.

    Attributes:
        num_steps: network evaluations.
        step: share of the residual that a step renews.
        pull: strength of the bidirectional guidance.
        power: steps lie at times ~ u^power.
    """

    num_steps: int = 60
    step: float = 1.0
    pull: float = 10.0
    power: float = 2.0

    @property
    def nfe(self) -> int:
        return self.num_steps

    @property
    def positions(self) -> int:
        return self.num_steps

    @property
    def entry(self) -> int:
        return _entry(_shares(self.num_steps, self.power))

    @property
    def entry_nfe(self) -> int:
        return self.num_steps - self.entry

    def alpha_bar(self, prior: Prior, position: int) -> float:
        return float(prior.schedule.alpha_bar[power_grid(self.num_steps, self.power, len(prior.schedule))[position]])

    def describe(self) -> dict[str, Any]:
        return {"sampler": "annealed-langevin", **asdict(self)}

    def sample(
        self, prior: Prior, known: Tensor, keep_mask: Tensor, noise: Noise, **options: Unpack[Options]
    ) -> Tensor:
        return annealed_langevin(
            prior,
            known,
            keep_mask,
            noise,
            schedule=prior.schedule,
            indices=power_grid(self.num_steps, self.power, len(prior.schedule)),
            step=self.step,
            pull=self.pull,
            **options,
        )


def _entry(shares: Sequence[float]) -> int:
    """Return the first position whose share of the trained time is at most `_ENTRY_TIME`; the last one if none is."""
    return next((i for i, share in enumerate(shares) if share <= _ENTRY_TIME), len(shares) - 1)


def _shares(count: int, power: float) -> list[float]:
    return [((count - i) / count) ** power for i in range(count)]


def _level(path: Sequence[Step], position: int) -> int:
    step = path[position]
    assert isinstance(step, Reverse)  # as `_entry` finds it
    return step.index


PRESETS: dict[str, Sampler] = {
    "paper": RePaint(250, 10, 10),
    "best": AnnealedLangevin(240),
    "balanced": AnnealedLangevin(120),
    "fast": AnnealedLangevin(60),
    "draft": AnnealedLangevin(30),
}
"""Presets by name, dearest first: 2410, 240, 120, 60 and 30 network evaluations; decided by `repaint-batch evaluate`."""
