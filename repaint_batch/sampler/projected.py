"""Projection: the predicted picture has its known pixels set, then is noised to the next level.

    x̂_0 = known where kept, pred_x0 in the hole
    x_s = sqrt(alpha_bar_s) x̂_0 + sqrt(1 - alpha_bar_s) (sqrt(1 - eta²) eps + eta z)

eps is the network's own, unprojected: on known pixels it holds what the network got wrong, which the next evaluation sees.

Source: Wang, Yu and Zhang, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model" (DDNM), ICLR 2023,
algorithm 1; its time travel is the jump of RePaint.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from repaint_batch.sampler.levels import Levels
from repaint_batch.sampler.noise import Noise, Role
from repaint_batch.sampler.path import Reverse, Step
from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.repaint import ChainState, OnStep
from repaint_batch.sampler.schedule import NoiseSchedule


def projected(
    prior: Prior,
    known: Tensor,
    keep_mask: Tensor,
    noise: Noise,
    *,
    schedule: NoiseSchedule,
    path: Sequence[Step],
    eta: float = 0.85,
    guidance: Guidance | None = None,
    resume: ChainState | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Return restored pictures by projected ancestral sampling.

    Args:
        prior: predicts noise at the times of `schedule`.
        known: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        noise: source of every draw.
        schedule: the process whose indices `path` names.
        path: steps down and up, see `repaint_batch.sampler.path`.
        eta: share of fresh noise, 0 .. 1.
        guidance: gradient of log p(label | x_t).
        resume: a state handed to `on_step` by an interrupted run.
        on_step: called after every step.

    Returns:
        (B, C, H, W) float32; known pixels are exactly those of `known`.
    """
    levels = Levels.of(schedule, range(len(schedule)), known.device)
    # Level -1, the clean one, is the last entry of the tables, which is what index -1 means.
    x_t = noise(-1, Role.INITIAL) if resume is None else resume.x_t
    first, pred_x0 = (0, None) if resume is None else (resume.position, resume.pred_x0)
    for position, step in enumerate(path[first:], first):
        if isinstance(step, Reverse):
            i = step.index
            raw = levels.denoise(prior, x_t, i, guidance)
            eps = (x_t - levels.signal[i] * raw) / levels.sigma[i]
            pred_x0 = torch.where(keep_mask, known, raw)
            fresh = math.sqrt(1 - eta**2) * eps
            if i > 0:
                fresh = fresh + eta * noise(position, Role.REVERSE)
            x_t = levels.signal[i - 1] * pred_x0 + levels.sigma[i - 1] * fresh
        else:
            ratio = (levels.signal[step.stop] / levels.signal[step.start]) ** 2
            x_t = ratio.sqrt() * x_t + (1 - ratio).sqrt() * noise(position, Role.UNDO)
        if on_step is not None:
            on_step(ChainState(position + 1, x_t, pred_x0))
    return torch.where(keep_mask, known, x_t)
