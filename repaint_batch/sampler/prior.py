"""What a sampler asks of a prior."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from repaint_batch.sampler.schedule import NoiseSchedule


@dataclass(frozen=True)
class Prediction:
    """What a network says of x_t.

    Attributes:
        eps: (B, C, H, W) float32, predicted noise.
        variance_fraction: (B, C, H, W) float32 in [-1, 1] where the variance is learned: -1 = posterior variance, 1 = beta, in
            logarithms between (Nichol and Dhariwal 2021, eq. 15). None where it is fixed.
    """

    eps: Tensor
    variance_fraction: Tensor | None = None


class Prior(Protocol):
    """A diffusion model that predicts noise.

    A prior of one's own is anything that has these three; `repaint_batch.sampler.run.sample` takes it as it is:

        >>> from repaint_batch.sampler.prior import Prediction
        >>> from repaint_batch.sampler.schedule import NoiseSchedule
        >>> class GreyNoise:
        ...     "Knows that pixels are N(0, 0.1^2), each by itself."
        ...     schedule, fixed_large_variance = NoiseSchedule.linear(), False
        ...
        ...     def __call__(self, x_t, t):
        ...         alpha_bar = self.schedule.alpha_bar[t].float().view(-1, 1, 1, 1)
        ...         variance = 0.01 * alpha_bar + 1 - alpha_bar
        ...         return Prediction((1 - alpha_bar).sqrt() / variance * x_t)

    A network that predicts eps, x_0 or v becomes one by `repaint_batch.RePaintPipeline(unet=network, scheduler=...)`, which needs
    of it ``network(x_t, t, class_labels=None).sample`` and diffusers' ``config``.
    """

    @property
    def schedule(self) -> NoiseSchedule:
        """The process it was trained with."""

    @property
    def fixed_large_variance(self) -> bool:
        """Whether an unlearned reverse variance is beta_t rather than that of the posterior."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """Predict the noise in `x_t` (B, C, H, W) float32 at times `t` (B,) int64 of its schedule."""


class Guidance(Protocol):
    """A gradient that pulls the reverse step, such as that of a classifier (Dhariwal and Nichol 2021, algorithm 1)."""

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return scale * grad log p(y | x_t), (B, C, H, W) float32."""
