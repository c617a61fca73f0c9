"""Chains that start from a draft: a picture that is right at half scale, with its finest detail yet to be made.

`enter` noises the draft, which drowns what is as fine as a pixel. `Held` keeps the chain at what the draft is right in: where
the network sees little of the picture it would wander off in colour, each window of a hole in another direction, and the
borders of windows would show.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.sampler.noise import Noise, Role
from repaint_batch.sampler.presets import Sampler
from repaint_batch.sampler.prior import Prediction, Prior
from repaint_batch.sampler.repaint import ChainState
from repaint_batch.sampler.schedule import NoiseSchedule

_NARROW_PX, _WIDE_PX = 2.0, 8.0
"""Standard deviations of the blurs. Waves of four pixels, the finest in a draft of half the scale, hardly pass the narrow
one; the wide one passes colours and no grain."""
_DRAFT_STD = 0.1
"""Error of a draft at its finer waves: chains with less noise than that are freed of them, and get the prior's grain."""


def enter(sampler: Sampler, prior: Prior, draft: Tensor, noise: Noise) -> ChainState:
    """Return the state of a chain that starts from `draft`.

    It is noised up to a quarter of the trained time, where a schedule that is usual has about as much noise as signal: what
    is twice as coarse as a pixel stands out of the noise, what is as fine as one drowns.

    Args:
        sampler: whose path is entered at `Sampler.entry`.
        prior: its schedule says how much noise that is.
        draft: (B, C, H, W) float32 in [-1, 1].
        noise: the chain's own; its draws are those that the step before would have left behind.

    Source: Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022.
    """
    position = sampler.entry
    alpha_bar = sampler.alpha_bar(prior, position)
    z = noise(position - 1, Role.REVERSE if position else Role.INITIAL)
    return ChainState(position, math.sqrt(alpha_bar) * draft + math.sqrt(1 - alpha_bar) * z)


class Held:
    """A prior whose pred_x0 has the draft's low frequencies in the hole: pred_x0 + blur(draft - pred_x0).

    Where noise is strong the blur is narrow, so that the draft's forms are kept; where it is weak the blur is wide, so that
    only its colours are. Between them it is w narrow + (1 - w) wide, with the weight of the draft's finer waves beside the
    noise of x_t: w = (1 - alpha_bar) / (1 - alpha_bar + `_DRAFT_STD`²). A blur is a mean over the hole alone, so that an
    offset is taken away whole, up to the hole's rim.

    Args:
        prior: what is held.
        draft: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel; there the predictions are the prior's own.

    Source: Choi et al., "ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models", ICCV 2021, eq. 8, applied
        to pred_x0 as in Wang et al., "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", ICLR 2023.
    """

    def __init__(self, prior: Prior, draft: Tensor, keep_mask: Tensor) -> None:
        self._prior = prior
        self._draft = draft
        self._hole = (~keep_mask).to(torch.float32)
        self._narrow, self._wide = (_HoleBlur.of(self._hole, std_px) for std_px in (_NARROW_PX, _WIDE_PX))
        alpha_bar = prior.schedule.alpha_bar
        sigma2 = 1 - alpha_bar
        levels = torch.stack([alpha_bar.sqrt(), sigma2.sqrt(), sigma2 / (sigma2 + _DRAFT_STD**2)])
        self._levels = levels.to(draft.device, torch.float32)

    @property
    def schedule(self) -> NoiseSchedule:
        """That of the prior."""
        return self._prior.schedule

    @property
    def fixed_large_variance(self) -> bool:
        """That of the prior."""
        return self._prior.fixed_large_variance

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """Predict the noise in `x_t` (B, C, H, W) float32 at times `t` (B,) int64."""
        prediction = self._prior(x_t, t)
        signal, sigma, weight = self._levels[:, t, None, None, None]
        pred_x0 = ((x_t - sigma * prediction.eps) / signal).clamp(-1, 1)
        lacks = self._hole * (self._draft - pred_x0)
        missing = self._hole * (weight * self._narrow(lacks) + (1 - weight) * self._wide(lacks))
        return Prediction(prediction.eps - signal / sigma * missing, prediction.variance_fraction)


@dataclass(frozen=True, eq=False)
class _HoleBlur:
    """A Gaussian blur that is a weighted mean over the hole's pixels.

    Attributes:
        rows, columns: (H, H) and (W, W) float32, weights along the axes.
        total: (B, 1, H, W) float32, sum of the weights of hole pixels.
    """

    rows: Tensor
    columns: Tensor
    total: Tensor

    @classmethod
    def of(cls, hole: Tensor, std_px: float) -> "_HoleBlur":
        """Return the blur over a hole, (B, 1, H, W) float32 of 0 and 1."""
        rows, columns = (_gaussian(side, std_px, hole.device) for side in hole.shape[-2:])
        return cls(rows, columns, (rows @ hole @ columns).clamp(min=torch.finfo(torch.float32).tiny))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the mean at each pixel of `pixels` (B, C, H, W) that are 0 outside the hole."""
        return self.rows @ pixels @ self.columns / self.total


def _gaussian(side: int, std_px: float, device: torch.device) -> Tensor:
    at = torch.arange(side, device=device, dtype=torch.float32)
    return torch.exp(-((at[:, None] - at) ** 2) / (2 * std_px**2))
