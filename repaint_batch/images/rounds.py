"""What a window is given once earlier ones are restored: their pixels where they are known by now, a draft where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repaint_batch.images.scaling import resized
from repaint_batch.images.windows import Window


@dataclass(frozen=True, eq=False)
class Given:
    """What the prior is given of one window, as it is stored.

    Attributes:
        known: (R, R, 3) float32 in [-1, 1].
        keep_mask: (R, R) bool, True = known pixel.
        coarse: (R, R, 3) float32 in [-1, 1] to start from; None: from noise.
    """

    known: np.ndarray
    keep_mask: np.ndarray
    coarse: np.ndarray | None


def given(
    plan: Sequence[Window],
    number: int,
    known: np.ndarray,
    keep_mask: np.ndarray,
    restored: Sequence[np.ndarray | None],
    others: Sequence[int],
) -> Given:
    """Return what window `number` is restored from.

    Args:
        plan: the picture's windows.
        number: of the window.
        known: (R, R, 3) float32 in [-1, 1], as `prepare` cut it.
        keep_mask: (R, R) bool, likewise.
        restored: (R, R, 3) float32 of every window of an earlier round.
        others: its donors, of `repaint_batch.images.windows.donors`.
    """
    window, side = plan[number], len(keep_mask)
    pixels, keep = known.copy(), keep_mask.copy()
    for other in others:
        source = restored[other]
        assert source is not None  # it is of an earlier round
        mine, theirs = _shared(window, plan[other], side)
        # A pixel of the picture itself stays what it is.
        new = ~keep[mine]
        pixels[mine][new] = source[theirs][new]
        keep[mine] = True
    coarse = None
    if window.parent is not None:
        draft = restored[window.parent]
        assert draft is not None  # likewise
        start = _enlarged_draft(draft, plan[window.parent], window)
        coarse = np.where(keep[..., None], pixels, start).astype(np.float32)
    return Given(pixels, keep, coarse)


def _shared(window: Window, other: Window, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where the duty of `other` lies in `window`, and where in `other`, both in pixels of windows."""
    pitch = window.side_px // side
    mine, theirs = [], []
    for axis in (1, 0):  # rows, then columns
        at, from_ = window.square[axis], other.square[axis]
        low, high = (other.duty[axis] - from_) // pitch, -((from_ - other.duty[axis + 2]) // pitch)
        shift = (from_ - at) // pitch
        low, high = max(low, -shift), min(high, side - shift)
        mine.append(slice(low + shift, high + shift))
        theirs.append(slice(low, high))
    return (mine[0], mine[1]), (theirs[0], theirs[1])


def _enlarged_draft(draft: np.ndarray, parent: Window, child: Window) -> np.ndarray:
    """Return the part of a restored window that lies over one of its children, at the child's scale."""
    side = len(draft)
    pitch = parent.side_px / side
    left, top = (child.left - parent.left) / pitch, (child.top - parent.top) / pitch
    span = child.side_px / pitch
    # On its grid a child may stick out of its parent by a pixel.
    box = (max(left, 0), max(top, 0), min(left + span, side), min(top + span, side))
    return np.asarray(np.clip(resized(draft, (side, side), box), -1, 1))
