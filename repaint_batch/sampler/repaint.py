"""RePaint: known pixels put in before every network call, and a path that jumps back and forth in time.

Source: Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models", CVPR 2022, eq. 8 and
algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.sampler.noise import Noise, Role
from repaint_batch.sampler.path import Reverse, Step
from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.schedule import NoiseSchedule


@dataclass(frozen=True)
class ChainState:
    """Where a chain stands: all that is needed to go on.

    Attributes:
        position: steps of the path that are done.
        x_t: (B, C, H, W) float32 after them.
        pred_x0: (B, C, H, W) float32 in [-1, 1] of the last network call, for those who watch; not needed to go on.
    """

    position: int
    x_t: Tensor
    pred_x0: Tensor | None = None


OnStep = Callable[[ChainState], None]


def repaint(
    prior: Prior,
    known: Tensor,
    keep_mask: Tensor,
    noise: Noise,
    *,
    schedule: NoiseSchedule,
    path: Sequence[Step],
    eta: float = 1.0,
    guidance: Guidance | None = None,
    resume: ChainState | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Return restored pictures: the hole sampled from the prior given the known pixels, those unchanged.

    Args:
        prior: predicts noise at the times of `schedule`.
        known: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        noise: source of every draw.
        schedule: the (respaced) process whose indices `path` names.
        path: steps down and up, see `repaint_batch.sampler.path`.
        eta: 1 is the paper's ancestral step, 0 is DDIM, between is between (Song et al. 2021, eq. 16).
        guidance: gradient added to the mean of each reverse step, times its variance.
        resume: a state handed to `on_step` by an interrupted run.
        on_step: called after every step.

    Returns:
        (B, C, H, W) float32; known pixels are exactly those of `known`.
    """
    # The reverse step uses a hole pixel's draw, the known part a known pixel's: one keyed draw serves both.
    tables = _Tables.of(prior, schedule, eta, known.device)
    x_t = noise(-1, Role.INITIAL) if resume is None else resume.x_t
    pred_x0 = None
    first = 0 if resume is None else resume.position
    for position, step in enumerate(path[first:], first):
        if isinstance(step, Reverse):
            i = step.index
            # Eq. 8a, 8c: the known part at the level that the network is about to see. At the very start there is none.
            if position > 0:
                noised = tables.signal[i] * known + tables.sigma[i] * noise(position, Role.KNOWN)
                x_t = torch.where(keep_mask, noised, x_t)
            x_t, pred_x0 = _reverse(prior, x_t, i, tables, noise, position, guidance)
        else:
            # alpha_bar_{t+j} / alpha_bar_t is the signal left by j forward steps, which are one Gaussian together.
            ratio = tables.alpha_bar[step.stop + 1] / tables.alpha_bar[step.start + 1]
            x_t = ratio.sqrt() * x_t + (1 - ratio).sqrt() * noise(position, Role.UNDO)
        if on_step is not None:
            on_step(ChainState(position + 1, x_t, pred_x0))
    return torch.where(keep_mask, known, x_t)


@dataclass(frozen=True)
class _Tables:
    """Coefficients of every index as float32 on the device, so that the loop never waits for the host."""

    t: Tensor
    alpha_bar: Tensor
    """One longer than the rest: level -1 comes first."""
    signal: Tensor
    sigma: Tensor
    signal_prev: Tensor
    eps_prev: Tensor
    step_std: Tensor
    step_log_variance: tuple[Tensor, Tensor]
    eta: float

    @classmethod
    def of(cls, prior: Prior, schedule: NoiseSchedule, eta: float, device: torch.device) -> "_Tables":
        ab, ab_prev, posterior = schedule.alpha_bar, schedule.alpha_bar_prev, schedule.posterior_variance
        fixed = schedule.betas if prior.fixed_large_variance else posterior
        # No noise in the last step; the posterior's logarithm there is taken from the step before.
        clipped = torch.cat([posterior[1:2], posterior[1:]]) if len(posterior) > 1 else schedule.betas
        last = torch.arange(len(schedule)) == 0

        def table(values: Tensor) -> Tensor:
            return values.to(device=device, dtype=torch.float32)

        return cls(
            t=schedule.timesteps.to(device),
            alpha_bar=table(torch.cat([torch.ones(1, dtype=torch.float64), ab])),
            signal=table(ab.sqrt()),
            sigma=table((1 - ab).sqrt()),
            signal_prev=table(ab_prev.sqrt()),
            eps_prev=table((1 - ab_prev - eta**2 * posterior).clamp(min=0).sqrt()),
            step_std=table(torch.where(last, 0.0, eta * fixed.sqrt())),
            step_log_variance=(table(clipped.log()), table(schedule.betas.log())),
            eta=eta,
        )


def _reverse(
    prior: Prior, x_t: Tensor, i: int, tables: _Tables, noise: Noise, position: int, guidance: Guidance | None
) -> tuple[Tensor, Tensor]:
    """Return x_{t-1} and the clipped prediction of x_0 (Song et al. 2021, eq. 12; for eta = 1 Ho et al. 2020, eq. 6-7)."""
    t = tables.t[i].expand(len(x_t))
    prediction = prior(x_t, t)
    pred_x0 = ((x_t - tables.sigma[i] * prediction.eps) / tables.signal[i]).clamp(-1, 1)
    eps = (x_t - tables.signal[i] * pred_x0) / tables.sigma[i]
    std = tables.step_std[i]
    if prediction.variance_fraction is not None:
        low, high = (table[i] for table in tables.step_log_variance)
        fraction = (prediction.variance_fraction + 1) / 2
        std = tables.eta * torch.exp(0.5 * (fraction * high + (1 - fraction) * low))
    mean = tables.signal_prev[i] * pred_x0 + tables.eps_prev[i] * eps
    if guidance is not None:
        mean = mean + std**2 * guidance(x_t, t)
    if i > 0:
        mean = mean + std * noise(position, Role.REVERSE)
    return mean, pred_x0
