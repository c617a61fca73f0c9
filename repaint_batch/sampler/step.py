"""One step of all slots: the network, and the line of `repaint_batch.sampler.table`."""

from typing import NamedTuple

import torch
from torch import Tensor

from repaint_batch.sampler.drafts import Held
from repaint_batch.sampler.prior import Guidance, Prediction, Prior
from repaint_batch.sampler.table import Rows, Table


class State(NamedTuple):
    """What the slots hold.

    Attributes:
        x_t: (B, C, H, W) float32.
        known: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        z: (B, C, H, W) float32, z_i, the draw that the last step ended with.
        position: (B,) int64, steps that each slot has done; N and more: it is free, and what it computes is of no use.
    """

    x_t: Tensor
    known: Tensor
    keep_mask: Tensor
    z: Tensor
    position: Tensor


class Drift(NamedTuple):
    """A step before its fresh noise: x' = mean + std z_{i+1}.

    Attributes:
        mean: (B, C, H, W) float32.
        std: float32, broadcastable to it.
        pred_x0: (B, C, H, W) float32 in [-1, 1].
    """

    mean: Tensor
    std: Tensor
    pred_x0: Tensor


def drift(prior: Prior, guidance: Guidance | None, table: Table, state: State, held: Held | None = None) -> Drift:
    """Return a step of every slot before its fresh noise.

    Args:
        prior: predicts noise at the times of the table.
        guidance: gradient of log p(label | x_t).
        table: the sampler's steps, on the device.
        state: of the slots.
        held: drafts that slots are held to.
    """
    rows = table.at(state.position)
    gradient = None if guidance is None else guidance(state.x_t, rows.t)
    return follow(rows, state, prior(state.x_t, rows.t), gradient, held)


def follow(rows: Rows, state: State, prediction: Prediction, gradient: Tensor | None, held: Held | None) -> Drift:
    """Return what `drift` does, given what the network says.

    Guidance moves eps by -sigma times its gradient (Dhariwal and Nichol 2021, algorithm 2), or, where the table has variances,
    the mean by variance times gradient (their algorithm 1).
    """
    x_t, eps, sigma = state.x_t, prediction.eps, rows.sigma
    if gradient is not None and rows.variance is None:
        eps = eps - sigma * gradient
    raw = (x_t - sigma * eps) / rows.signal
    pred_x0 = raw.clamp(-1, 1)
    if held is not None:
        pred_x0 = torch.where(held.is_held, (raw + held.missing(pred_x0, sigma)).clamp(-1, 1), pred_x0)
    cx, c0, cy, cz, cn = torch.where(state.keep_mask, rows.known, rows.hole)
    mean = cx * x_t + c0 * pred_x0 + cy * state.known + cz * state.z
    if rows.variance is not None and (gradient is not None or prediction.variance_fraction is not None):
        u, std, log_low, log_high, eta, noisy = rows.variance
        if prediction.variance_fraction is not None:
            fraction = (prediction.variance_fraction + 1) / 2
            std = eta * torch.exp(0.5 * (fraction * log_high + (1 - fraction) * log_low))
            cn = torch.where(state.keep_mask, cn, torch.sqrt((u * std * noisy) ** 2 + (1 - u**2)))
        if gradient is not None:
            mean = torch.where(state.keep_mask, mean, mean + u * std**2 * gradient)
    return Drift(mean, cn, pred_x0)


def finish(
    rows: Rows, state: State, prediction: Prediction, gradient: Tensor | None, held: Held | None, z_next: Tensor
) -> tuple[Tensor, Tensor]:
    """Return x' and pred_x0, each (B, C, H, W) float32, given what the network says and z_{i+1}."""
    step = follow(rows, state, prediction, gradient, held)
    return step.mean + step.std * z_next, step.pred_x0
