"""Chains that start from a draft: a picture that is right at half scale, with its finest detail yet to be made.

A chain from a draft enters at a quarter of the trained time, where a schedule that is usual has about as much noise as signal:
what is twice as coarse as a pixel stands out of the noise, what is as fine as one drowns. From there on it is held to what the
draft is right in: where the network sees little of the picture it would wander off in colour, each window of a hole in another
direction, and the borders of windows would show.

    pred_x0 ← pred_x0 + blur(draft - pred_x0)   in the hole

Where noise is strong the blur is narrow, so that the draft's forms are kept; where it is weak the blur is wide, so that only
its colours are. Between them it is w narrow + (1 - w) wide, with the weight of the draft's finer waves beside the noise of x_t:
w = s² / (s² + `_DRAFT_STD`²). A blur is a mean over the hole alone, so that an offset is taken away whole, up to the hole's rim.

Sources: Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022; Choi et
al., "ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models", ICCV 2021, eq. 8, applied to pred_x0 as in Wang
et al., "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model", ICLR 2023.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_NARROW_PX, _WIDE_PX = 2.0, 8.0
"""Standard deviations of the blurs. Waves of four pixels, the finest in a draft of half the scale, hardly pass the narrow
one; the wide one passes colours and no grain."""
_DRAFT_STD = 0.1
"""Error of a draft at its finer waves: chains with less noise than that are freed of them, and get the prior's grain."""


class Held(NamedTuple):
    """Drafts that slots are held to.

    Attributes:
        is_held: (B, 1, 1, 1) bool, slots that have one.
        draft: (B, C, H, W) float32 in [-1, 1].
        hole: (B, 1, H, W) float32 of 0 and 1.
        axes: rows (2, 1, 1, H, H) and columns (2, 1, 1, W, W) float32, weights of the narrow and the wide blur along each.
        total: (2, B, 1, H, W) float32, for each blur the sum of the weights of hole pixels.
    """

    is_held: Tensor
    draft: Tensor
    hole: Tensor
    axes: tuple[Tensor, Tensor]
    total: Tensor

    def missing(self, pred_x0: Tensor, sigma: Tensor) -> Tensor:
        """Return what predictions lack of their drafts, (B, C, H, W) float32, 0 outside the hole.

        Args:
            pred_x0: (B, C, H, W) float32 in [-1, 1].
            sigma: (B, 1, 1, 1) float32, s of each slot's state.
        """
        rows, columns = self.axes
        lacks = self.hole * (self.draft - pred_x0)
        narrow, wide = (rows @ lacks @ columns) / self.total
        weight = sigma**2 / (sigma**2 + _DRAFT_STD**2)
        missing: Tensor = self.hole * (weight * narrow + (1 - weight) * wide)
        return missing


class DraftBuffers:
    """Drafts of the slots, on the device.

    Args:
        shape: (B, C, H, W).
        device: where they are.
        allocate: take their memory at once, and not with the first draft; many a job has none.

    Attributes:
        pixels: (B, C, H, W) float32, the drafts.
    """

    def __init__(self, shape: Sequence[int], device: torch.device, *, allocate: bool = False) -> None:
        count, _, height, width = shape
        self._shape, self._device = tuple(shape), device
        self._held_slots: set[int] = set()
        self.pixels = torch.zeros(0)
        if allocate:
            self._allocate()
        self._is_held = torch.zeros((count, 1, 1, 1), dtype=torch.bool, device=device)
        self._axes = tuple(
            torch.stack([_gaussian(side, std_px, device) for std_px in (_NARROW_PX, _WIDE_PX)])[:, None, None]
            for side in (height, width)
        )

    @property
    def in_use(self) -> bool:
        """Whether any slot is held to a draft."""
        return bool(self._held_slots)

    def put(
        self,
        at: Tensor,
        slots: Sequence[int],
        drafts: Sequence[Tensor | None],
        keep_mask: Tensor,
        sent: Callable[[Tensor], Tensor],
    ) -> None:
        """Take the drafts of new chains, (C, H, W) float32 each or None.

        Args:
            at: (k,) int64 on the device, the same as `slots`.
            slots: k of them.
            drafts: k of them.
            keep_mask: (B, 1, H, W) bool of all slots.
            sent: moves a tensor to the device.
        """
        self._held_slots -= set(slots)
        self._held_slots |= {slot for slot, draft in zip(slots, drafts, strict=True) if draft is not None}
        found = [draft for draft in drafts if draft is not None]
        self._is_held[at] = sent(torch.tensor([draft is not None for draft in drafts]).view(-1, 1, 1, 1))
        if not found:
            return
        if not len(self.pixels):
            self._allocate()
        blank = torch.zeros(self._shape[1:])
        self.pixels[at] = sent(torch.stack([blank if draft is None else draft for draft in drafts]))
        hole = (~keep_mask[at]).float()
        rows, columns = self._axes
        self._hole[at] = hole
        self._total[:, at] = (rows @ hole @ columns).clamp(min=torch.finfo(torch.float32).tiny)

    def _allocate(self) -> None:
        count, _, height, width = self._shape
        self.pixels = torch.zeros(self._shape, device=self._device)
        self._hole = torch.zeros((count, 1, height, width), device=self._device)
        self._total = torch.ones((2, count, 1, height, width), device=self._device)

    def drop(self, slots: Sequence[int]) -> None:
        """Forget the drafts of slots that have become free."""
        self._held_slots -= set(slots)

    def held(self) -> Held:
        """Return what the next step takes."""
        return Held(self._is_held, self.pixels, self._hole, (self._axes[0], self._axes[1]), self._total)


def _gaussian(side: int, std_px: float, device: torch.device) -> Tensor:
    at = torch.arange(side, device=device, dtype=torch.float32)
    return torch.exp(-((at[:, None] - at) ** 2) / (2 * std_px**2))
