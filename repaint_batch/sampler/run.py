"""A batch of windows sampled together from beginning to end: for every caller without a job's queue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain, Slots


@dataclass(frozen=True)
class ChainState:
    """Where a batch of chains stands.

    Attributes:
        position: steps that are done.
        x_t: (B, C, H, W) float32 after them; what is written to it is gone on from.
        pred_x0: (B, C, H, W) float32 in [-1, 1] of the last network call.
    """

    position: int
    x_t: Tensor
    pred_x0: Tensor


OnStep = Callable[[ChainState], None]


def sample(
    sampler: Sampler,
    prior: Prior,
    known: Tensor,
    keep_mask: Tensor,
    keys: Sequence[int],
    *,
    drafts: Tensor | None = None,
    guidance: Guidance | None = None,
    compiled: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Return restored windows, all in one network call a step.

    Args:
        sampler: algorithm and settings.
        prior: predicts noise.
        known: (B, C, H, W) float32 in [-1, 1], where the prior computes; the hole is never read.
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        keys: B noise keys.
        drafts: (B, C, H, W) float32 in [-1, 1] to start from, see `repaint_batch.sampler.drafts`.
        guidance: gradient of log p(label | x_t).
        compiled: compile the step.
        on_step: called after every step.

    Returns:
        (B, C, H, W) float32 on the host; known pixels are exactly those of `known`.
    """
    table = sampler.table(prior.schedule, fixed_large_variance=prior.fixed_large_variance)
    slots = Slots(prior, table, known.shape, device=known.device, guidance=guidance, compiled=compiled)
    hosts = [None] * len(keys) if drafts is None else list(drafts.cpu())
    chains = [
        Chain(key, y, keep, draft)
        for key, y, keep, draft in zip(keys, known.cpu(), keep_mask.cpu(), hosts, strict=True)
    ]
    slots.put(chains)
    while any(slot is not None for slot in slots.chains):
        slots.step()
        if on_step is not None:
            with torch.inference_mode():  # states are of it, and may be written to
                on_step(ChainState(chains[0].position, slots.x_t, slots.pred_x0))
    # All have ended at once, and `on_step` may have written to their last state since they left their slots.
    return torch.where(keep_mask, known, slots.x_t).cpu()
