"""Windows of many samples in batches of one fixed shape.

Convolution algorithms depend on the batch's shape: only when every network call has the same one does a window's result
not depend on which others share its batch. The last batch is padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One full batch of windows.

    Attributes:
        known: (B, C, H, W) float32 in [-1, 1].
        keep_mask: (B, 1, H, W) bool, True = known pixel.
        keys: B 64-bit noise keys.
        count: how many of the B windows are real; the rest is padding.
        coarse: (B, C, H, W) float32 in [-1, 1], drafts that chains start from; None: from noise.
    """

    known: Tensor
    keep_mask: Tensor
    keys: tuple[int, ...]
    count: int
    coarse: Tensor | None = None


def batches(
    known: Tensor, keep_mask: Tensor, keys: Sequence[int], batch_windows: int, coarse: Tensor | None = None
) -> Iterator[Batch]:
    """Yield N windows in batches of exactly `batch_windows`.

    Args:
        known: (N, C, H, W).
        keep_mask: (N, 1, H, W).
        keys: N of them.
        batch_windows: B.
        coarse: (N, C, H, W), see `Batch`.
    """
    for start in range(0, len(keys), batch_windows):
        part = slice(start, start + batch_windows)
        count = len(keys[part])
        padding = batch_windows - count
        yield Batch(
            _padded(known[part], padding),
            torch.cat([keep_mask[part], keep_mask.new_ones((padding, *keep_mask.shape[1:]))]),
            (*keys[part], *([0] * padding)),
            count,
            None if coarse is None else _padded(coarse[part], padding),
        )


def _padded(windows: Tensor, padding: int) -> Tensor:
    return torch.cat([windows, windows.new_zeros((padding, *windows.shape[1:]))])
