"""Boxes of pixels."""

import numpy as np

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the picture as stored; right and bottom are outside."""


def common(one: Box, other: Box) -> Box | None:
    """Return the box that lies in both."""
    box = (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))
    return box if box[0] < box[2] and box[1] < box[3] else None


def grown(box: Box, reach_px: int, size: tuple[int, int]) -> Box:
    """Return `box` and `reach_px` around it, as far as a picture of `size` (width, height) goes."""
    return (
        max(box[0] - reach_px, 0),
        max(box[1] - reach_px, 0),
        min(box[2] + reach_px, size[0]),
        min(box[3] + reach_px, size[1]),
    )


def within(part: Box, box: Box) -> tuple[slice, slice]:
    """Return where `part` lies in an array over `box`."""
    return slice(part[1] - box[1], part[3] - box[1]), slice(part[0] - box[0], part[2] - box[0])


def trimmed(hole: np.ndarray, box: Box) -> Box | None:
    """Return the smallest box around the pixels inside `box` that are True in `hole`, (H, W) bool."""
    part = hole[box[1] : box[3], box[0] : box[2]]
    rows = np.flatnonzero(part.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(part[rows[0] : rows[-1] + 1].any(axis=0))
    left, top = box[0], box[1]
    return (left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)
