"""Noise schedules of the forward process, and respacing.

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I),   alpha_bar_t = prod_{s <= t} (1 - beta_s)

All tables are float64; samplers cast what they need to float32 on the device once, before their loop.

Source: Ho et al., NeurIPS 2020, eq. 2-7; respacing: Nichol and Dhariwal, ICML 2021, section 4.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A discrete forward process.

    Attributes:
        betas: (T,) float64 in (0, 1].
        timesteps: (T,) int64, the time that the network is given at each index.
    """

    betas: Tensor
    timesteps: Tensor

    @classmethod
    def from_betas(cls, betas: Tensor) -> "NoiseSchedule":
        """Return the process with these betas, every step of it."""
        return cls(betas.to(torch.float64), torch.arange(len(betas)))

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> "NoiseSchedule":
        """Return Ho et al.'s linear schedule."""
        return cls.from_betas(torch.linspace(first, last, steps, dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(T,) float64, falling from nearly 1 to nearly 0."""
        return torch.cumprod(1 - self.betas, 0)

    @cached_property
    def alpha_bar_prev(self) -> Tensor:
        """(T,) float64: alpha_bar one step earlier, 1 at index 0."""
        return torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])

    @cached_property
    def posterior_variance(self) -> Tensor:
        """(T,) float64: variance of q(x_{t-1} | x_t, x_0), 0 at index 0 (Ho et al., eq. 7)."""
        return self.betas * (1 - self.alpha_bar_prev) / (1 - self.alpha_bar)

    def respaced(self, steps: int) -> "NoiseSchedule":
        """Return the process on `steps` evenly spaced times of this one, first and last included.

        The marginals at the kept times are unchanged: betas are recomputed from alpha_bar.

        Raises:
            ValueError: `steps` is not in 1 .. T.
        """
        if not 1 <= steps <= len(self):
            raise ValueError(f"cannot respace {len(self)} steps to {steps}")
        stride = (len(self) - 1) / max(1, steps - 1)
        return self.at(torch.tensor([round(i * stride) for i in range(steps)]))

    def at(self, index: Tensor) -> "NoiseSchedule":
        """Return the process on the given rising indices of this one."""
        alpha_bar = self.alpha_bar[index]
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
        return NoiseSchedule(1 - alpha_bar / previous, self.timesteps[index])
