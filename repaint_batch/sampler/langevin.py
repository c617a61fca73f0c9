"""Guided Langevin sampling: hole and known pixels both move, the known ones pulled to where the network reads them right.

At a level with signal a = sqrt(alpha_bar) and sigma s, the denoised picture m = a pred_x0(x) is Langevin's drift. Let
y be the known pixels and r the residual in units of s, so that x = m + s r in the hole and x = a y + s r on known pixels.

    hole:   r ← (1 - d) (x - m) / s + w
    known:  r ← ((1 - d) (x - a y) + d pull / (1 + pull) (x - m)) / s + w / sqrt(1 + pull)

`pull` > 0 is bidirectional guidance: replacing known pixels (pull = 0) tells the network less than is known of them, while
pull → ∞ moves x until pred_x0 = y on known pixels, at which point m in the hole is, for a Gaussian prior, exactly the
mean given the known pixels.

Two samplers are built on it:

* `langevin`: L levels, K corrections each, one DDIM step to the next: L (K + 1) evaluations. d = 1 - e^{-h} and
  w = sqrt(1 - e^{-2h}) z with a fresh z: the exponential integrator, exact where m is constant. Where m follows x it gives
  the hole too little variance: (1 + e^{-h}) / ((1 + e^{-h}) + g (1 - e^{-h})) of the right one for dm/dx = g.
* `annealed_langevin`: every evaluation corrects and descends at once, by writing x at the next level with the new
  residual; N evaluations. w = sqrt(2 d) (z + z') / 2, half of it the noise of the step before, which makes the variance
  exact for every linear m and every d. It needs half the evaluations of the first for the same distance to the
  posterior, and its variance is right.

Sources: Zheng et al., "Lanpaint: Training-Free Diffusion Inpainting with Asymptotically Exact and Fast Conditional
Sampling", 2025 (bidirectional guidance); Leimkuhler and Matthews, "Rational Construction of Stochastic Numerical Methods
for Molecular Sampling", 2013 (averaged noise); Song et al., "Denoising Diffusion Implicit Models", ICLR 2021, eq. 12.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from repaint_batch.sampler.levels import Levels
from repaint_batch.sampler.noise import Noise, Role
from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.repaint import ChainState, OnStep
from repaint_batch.sampler.schedule import NoiseSchedule


def annealed_langevin(
    prior: Prior,
    known: Tensor,
    keep_mask: Tensor,
    noise: Noise,
    *,
    schedule: NoiseSchedule,
    indices: Sequence[int],
    step: float = 1.0,
    pull: float = 10.0,
    guidance: Guidance | None = None,
    resume: ChainState | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Return restored pictures by Langevin steps that descend, one network evaluation each.

    Args:
        prior: predicts noise at the times of `schedule`.
        known: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        noise: source of every draw.
        schedule: the process that `indices` count in.
        indices: N falling levels, repeats allowed.
        step: d, share of the residual that is renewed in a step; 0 .. 2.
        pull: strength of the bidirectional guidance.
        guidance: gradient of log p(label | x_t).
        resume: a state handed to `on_step` by an interrupted run.
        on_step: called after every step.

    Returns:
        (B, C, H, W) float32; known pixels are exactly those of `known`.
    """
    levels = Levels.of(schedule, indices, known.device)
    amplitude = math.sqrt(2 * step) / 2
    first = 0 if resume is None else resume.position
    # Noise is a function of its position, so the half that the last step left behind can be drawn again.
    z = noise(-1, Role.INITIAL) if first == 0 else _step_noise(noise, keep_mask, first - 1)
    x_t = _start(levels, known, keep_mask, z) if resume is None else resume.x_t
    for i in range(first, len(indices)):
        a, s, a_next, s_next = levels.signal[i], levels.sigma[i], levels.signal[i + 1], levels.sigma[i + 1]
        pred_x0 = levels.denoise(prior, x_t, i, guidance)
        z_next = _step_noise(noise, keep_mask, i) if i + 1 < len(indices) else z
        w = amplitude * (z + z_next)
        from_m, from_y = (x_t - a * pred_x0) / s, (x_t - a * known) / s
        hole = a_next * pred_x0 + s_next * ((1 - step) * from_m + w)
        kept = a_next * known + s_next * _pulled(from_m, from_y, step, pull, w)
        x_t, z = torch.where(keep_mask, kept, hole), z_next
        if on_step is not None:
            on_step(ChainState(i + 1, x_t, pred_x0))
    return torch.where(keep_mask, known, x_t)


def langevin(
    prior: Prior,
    known: Tensor,
    keep_mask: Tensor,
    noise: Noise,
    *,
    schedule: NoiseSchedule,
    indices: Sequence[int],
    corrections: int = 4,
    h: float = 1.2,
    pull: float = 30.0,
    guidance: Guidance | None = None,
    resume: ChainState | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Return restored pictures by `corrections` Langevin steps and one DDIM step at each of `indices`.

    Args:
        prior, known, keep_mask, noise, schedule, guidance, resume, on_step: as in `annealed_langevin`.
        indices: L falling levels.
        corrections: K.
        h: time of one correction.
        pull: strength of the bidirectional guidance.

    Returns:
        (B, C, H, W) float32; known pixels are exactly those of `known`.
    """
    levels = Levels.of(schedule, indices, known.device)
    d, amplitude = 1 - math.exp(-h), math.sqrt(1 - math.exp(-2 * h))
    first = 0 if resume is None else resume.position
    x_t = _start(levels, known, keep_mask, noise(-1, Role.INITIAL)) if resume is None else resume.x_t
    for position in range(first, len(indices) * (corrections + 1)):
        i, correction = divmod(position, corrections + 1)
        a, s = levels.signal[i], levels.sigma[i]
        pred_x0 = levels.denoise(prior, x_t, i, guidance)
        if correction < corrections:
            w = amplitude * _step_noise(noise, keep_mask, position)
            from_m, from_y = (x_t - a * pred_x0) / s, (x_t - a * known) / s
            hole = a * pred_x0 + s * ((1 - d) * from_m + w)
            x_t = torch.where(keep_mask, a * known + s * _pulled(from_m, from_y, d, pull, w), hole)
        else:
            pred_x0 = torch.where(keep_mask, known, pred_x0)
            x_t = levels.signal[i + 1] * pred_x0 + levels.sigma[i + 1] * (x_t - a * pred_x0) / s
        if on_step is not None:
            on_step(ChainState(position + 1, x_t, pred_x0))
    return torch.where(keep_mask, known, x_t)


def _start(levels: Levels, known: Tensor, keep_mask: Tensor, z: Tensor) -> Tensor:
    return torch.where(keep_mask, levels.signal[0] * known + levels.sigma[0] * z, z)


def _step_noise(noise: Noise, keep_mask: Tensor, position: int) -> Tensor:
    hole, kept = noise(position, Role.REVERSE), noise(position, Role.KNOWN)
    return hole if hole is kept else torch.where(keep_mask, kept, hole)


def _pulled(from_m: Tensor, from_y: Tensor, step: float, pull: float, w: Tensor) -> Tensor:
    """Return the new residual of known pixels."""
    return (1 - step) * from_y + step * pull / (1 + pull) * from_m + w / math.sqrt(1 + pull)
