"""Where somebody who judges a restoration looks next: boxes around the marks of a hole."""

import numpy as np
from scipy import ndimage

from repaint_batch.images.box import Box

_GRID = 96  # cells along the longer side in which a hole is looked for: marks in neighbouring cells are one stop
_STOP_PX = 1024  # longer stretches are several stops
_MOST_STOPS = 400


def stops(hole: np.ndarray) -> list[Box]:
    """Return boxes around what there is of a hole, the largest mark first: where to look next.

    Marks that are close to each other share a box; of a mark that is longer than a screen every stretch has its own.

    Args:
        hole: (H, W) bool.

    Returns:
        At most 400 boxes: left, top, right, bottom in pixels.
    """
    height, width = hole.shape
    side = -(-max(hole.shape) // _GRID)
    rows = np.logical_or.reduceat(hole, np.arange(0, height, side), axis=0)
    cells = np.logical_or.reduceat(rows, np.arange(0, width, side), axis=1)
    labels, _ = ndimage.label(cells, np.ones((3, 3), dtype=int))
    marks = [(slices[1].start * side, slices[0].start * side, slices[1].stop * side, slices[0].stop * side)
             for slices in ndimage.find_objects(labels)]
    marks.sort(key=lambda box: (-np.count_nonzero(hole[box[1] : box[3], box[0] : box[2]]), box[1], box[0]))
    found = (_tight(hole, part) for mark in marks for part in _stretches(mark))
    return [box for box in found if box is not None][:_MOST_STOPS]


def _stretches(box: Box) -> list[Box]:
    left, top, right, bottom = box
    return [
        (x, y, min(x + _STOP_PX, right), min(y + _STOP_PX, bottom))
        for y in range(top, bottom, _STOP_PX)
        for x in range(left, right, _STOP_PX)
    ]


def _tight(hole: np.ndarray, box: Box) -> Box | None:
    """Return the smallest box that holds what there is of `hole` in `box`; None if there is nothing."""
    left, top, right, bottom = box
    part = hole[top:bottom, left:right]
    ys, xs = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return (left + int(xs[0]), top + int(ys[0]), left + int(xs[-1]) + 1, top + int(ys[-1]) + 1) if len(ys) else None
