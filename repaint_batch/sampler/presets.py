"""Samplers with their settings: what a preset is, and what it costs.

A sampler here is a frozen value. Its fields decide the result and go into the fingerprint; `nfe` is its price.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from torch import Tensor

from repaint_batch.sampler.noise import Noise
from repaint_batch.sampler.path import Jump, Step, jump_times, steps
from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.repaint import ChainState, OnStep, repaint


class Sampler(Protocol):
    """Settings of one algorithm, ready to be run on any prior."""

    @property
    def nfe(self) -> int:
        """Network evaluations a window costs."""

    @property
    def positions(self) -> int:
        """Steps of its path, as `ChainState.position` counts them."""

    def describe(self) -> dict[str, Any]:
        """Return the algorithm's name and every setting, as JSON-serialisable values."""

    def sample(
        self,
        prior: Prior,
        known: Tensor,
        keep_mask: Tensor,
        noise: Noise,
        *,
        guidance: Guidance | None = None,
        resume: ChainState | None = None,
        on_step: OnStep | None = None,
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

    def describe(self) -> dict[str, Any]:
        return {"sampler": "repaint", **asdict(self)}

    def sample(
        self,
        prior: Prior,
        known: Tensor,
        keep_mask: Tensor,
        noise: Noise,
        *,
        guidance: Guidance | None = None,
        resume: ChainState | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        schedule = prior.schedule.respaced(min(self.num_steps, len(prior.schedule)))
        return repaint(
            prior,
            known,
            keep_mask,
            noise,
            schedule=schedule,
            path=self.path,
            eta=self.eta,
            guidance=guidance,
            resume=resume,
            on_step=on_step,
        )


PRESETS: dict[str, Sampler] = {
    "paper": RePaint(250, 10, 10),
    "balanced": RePaint(100, 10, 5),
    "fast": RePaint(50, 5, 5),
}
"""Presets by name, dearest first: 2410, 460 and 230 network evaluations."""
