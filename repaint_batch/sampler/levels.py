"""What the fast samplers share: noise levels as float32 tables, and the denoised picture at one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.schedule import NoiseSchedule


def power_grid(count: int, power: float, length: int) -> tuple[int, ...]:
    """Return `count` falling indices of a process of `length` steps, (length - 1) u^power for u = 1 .. 1/count.

    A power over 1 is coarse where noise is strong and fine where it is weak. Indices may repeat at the low end.
    """
    return tuple(round((length - 1) * ((count - i) / count) ** power) for i in range(count))


@dataclass(frozen=True, eq=False)
class Levels:
    """The levels that a chain visits, followed by the clean one; position i counts network evaluations.

    Attributes:
        t: (N,) int64, what the network is told.
        signal: (N + 1,) float32, sqrt(alpha_bar); 1 at the end.
        sigma: (N + 1,) float32, sqrt(1 - alpha_bar); 0 at the end.
    """

    t: Tensor
    signal: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, schedule: NoiseSchedule, indices: Sequence[int], device: torch.device) -> "Levels":
        """Return the tables of `indices` into `schedule`, on `device`."""
        at = torch.tensor(indices, dtype=torch.int64)
        alpha_bar = torch.cat([schedule.alpha_bar[at], torch.ones(1, dtype=torch.float64)])
        signal, sigma = (values.to(device=device, dtype=torch.float32) for values in (alpha_bar.sqrt(), (1 - alpha_bar).sqrt()))
        return cls(schedule.timesteps[at].to(device), signal, sigma)

    def denoise(self, prior: Prior, x_t: Tensor, i: int, guidance: Guidance | None) -> Tensor:
        """Return pred_x0 in [-1, 1] of `x_t` (B, C, H, W) at position `i`.

        Guidance moves eps by -sigma times its gradient (Dhariwal and Nichol 2021, algorithm 2).
        """
        t = self.t[i].expand(len(x_t))
        eps = prior(x_t, t).eps
        if guidance is not None:
            eps = eps - self.sigma[i] * guidance(x_t, t)
        return ((x_t - self.sigma[i] * eps) / self.signal[i]).clamp(-1, 1)
