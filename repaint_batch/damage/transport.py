"""Straight scratches through a whole frame, as film gets them in transport: too faint to see anywhere, plain in the sum.

A frame is y(r, c) = x(r, c) + s(c) + n(r, c) with a scratch s far below the grain n. With x out of the way,

    d(r, c) = y(r, c) - mean of y(r, c') over 4 <= |c' - c| <= 10,      clipped at 2.5 sigma
    m(b, c) = mean of d over the rows of block b,                       v(b, c) = its variance
    z(c)    = sum_b clip(m / sqrt(v)) / sqrt(v)  /  sqrt(sum_b 1 / v)   over all blocks

is a standard normal where nothing is. What runs through a part of the frame only (a mast, a wall) is strong in some blocks: no
block counts for more than `_MOST_OF_A_BLOCK`, and two thirds of them must agree in sign. Where a picture has columns of its
own kind, their spread is taken for what is usual. What is plain to see in most blocks is no matter of sums: it is left to the
detector of scratches. Scratches lean a little: blocks are shifted against each other by a line's slope. Frames of one film add
up, since its scratches stay where they are.

Lines that run across are found on the transposed picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

BLOCKS = 16
_MOST_OF_A_BLOCK = 2.5
_PLAIN = 9.0
"""Median over blocks of m / sqrt(v) from which a line shows at any one place."""
_WIDTHS_PX = (1, 2, 3, 5)
_LEANS_PX = range(-8, 9, 2)
FRAME_Z, FILM_Z = 7.0, 4.5
"""Least z of a line, in one frame and in those of a film: a film's frames seldom have an upright edge at one place."""
_LEAST_SHARE = 0.68
"""Share of the blocks that must have the scratch's sign."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Sums over the blocks of a frame, or of several added up.

    Attributes:
        weighted: (BLOCKS, W) sum of m / v.
        weight: (BLOCKS, W) sum of 1 / v.
    """

    weighted: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Line:
    """A scratch: its column at mid-height, lean from top to bottom, and width, in pixels; z as above."""

    column: float
    lean: float
    width: int
    z: float


def profile_of(grey: np.ndarray) -> Profile:
    """Return the profile of a frame (H, W), float32 or uint8, of upright lines."""
    y = grey.astype(np.float32)
    near, far = (ndimage.uniform_filter1d(y, side, axis=1, mode="nearest") for side in (7, 21))
    d = y - (21 * far - 7 * near) / 14
    weighted, weight = np.zeros((2, BLOCKS, y.shape[1]), np.float32)
    for number, block in enumerate(np.array_split(d, BLOCKS)):
        sigma = 1.4826 * np.median(np.abs(block), axis=0) + 0.15
        sigma = ndimage.maximum_filter1d(ndimage.uniform_filter1d(sigma, 15, mode="nearest"), 7, mode="nearest")
        clipped = np.clip(block, -2.5 * sigma, 2.5 * sigma)
        variance = sigma**2 / len(block)
        mean = clipped.mean(0)
        # What is left of shades that bend.
        mean -= ndimage.median_filter(mean, 25, mode="nearest")
        weighted[number], weight[number] = mean / variance, 1 / variance
    return Profile(weighted, weight)


def added(profiles: Sequence[Profile]) -> Profile:
    """Return the profile of frames of one film, all of one size; what one frame has alone counts no more than another's grain."""
    return summed([_evened(profile) for profile in profiles])


def summed(profiles: Sequence[Profile]) -> Profile:
    """Return the sum of profiles that `added` returned, of other frames of the same film."""
    return Profile(sum(p.weighted for p in profiles), sum(p.weight for p in profiles))  # type: ignore[arg-type]


def _evened(profile: Profile) -> Profile:
    z = np.clip(profile.weighted / np.sqrt(profile.weight), -_MOST_OF_A_BLOCK, _MOST_OF_A_BLOCK)
    return Profile(z, np.ones_like(z))


def lines_of(profile: Profile, least_z: float = FRAME_Z) -> list[Line]:
    """Return the scratches in a profile, strongest first, none beside another."""
    columns = profile.weighted.shape[1]
    best, which = np.zeros(columns), np.zeros((columns, 2), int)
    for lean in _LEANS_PX:
        weighted, weight = (_leaning(sums, lean) for sums in (profile.weighted, profile.weight))
        for width in _WIDTHS_PX:
            z = _z(_boxed(weighted, width), _boxed(weight, width))
            better = np.abs(z) > np.abs(best)
            best[better], which[better] = z[better], (lean, width)
    lines: list[Line] = []
    strength = np.abs(best)
    strength[:12] = strength[-12:] = 0
    while len(lines) < 50 and (column := int(strength.argmax())) >= 0 and strength[column] >= least_z:
        lean, width = which[column]
        # A box of even width lies half a pixel to the left.
        lines.append(Line(column - (0.5 if width % 2 == 0 else 0.0), float(lean), int(width), float(best[column])))
        strength[max(0, column - 10) : column + 11] = 0
    return lines


def drawn(lines: Sequence[Line], height: int, width: int) -> np.ndarray:
    """Return (H, W) bool, True on the lines, a pixel wider on both sides than they were found."""
    hole = np.zeros((height, width), bool)
    rows = np.arange(height)
    for line in lines:
        middle = line.column + line.lean * (rows + 0.5 - height / 2) / height
        half = line.width / 2 + 1
        left = np.clip(np.rint(middle - half), 0, width).astype(int)
        for offset in range(line.width + 3):
            hole[rows, np.clip(left + offset, 0, width - 1)] = True
    return hole


def _leaning(sums: np.ndarray, lean: int) -> np.ndarray:
    shifts = np.rint(lean * ((np.arange(BLOCKS) + 0.5) / BLOCKS - 0.5)).astype(int)
    return np.stack([np.roll(row, -shift) for row, shift in zip(sums, shifts, strict=True)])


def _boxed(sums: np.ndarray, width: int) -> np.ndarray:
    return sums if width == 1 else ndimage.uniform_filter1d(sums, width, axis=1, mode="nearest") * width


def _z(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return (W,) z, 0 where too few blocks agree or all show it plainly, in units of what is usual in this picture."""
    root = np.sqrt(weight)
    plain = weighted / root
    single = np.clip(plain, -_MOST_OF_A_BLOCK, _MOST_OF_A_BLOCK)
    z = (single * root).sum(0) / np.sqrt((root**2).sum(0))
    sign = np.where(z >= 0, 1, -1)
    agreeing = (single * sign > 0).mean(0)
    usual = max(1.0, 1.4826 * float(np.median(np.abs(z - np.median(z)))))
    faint = np.abs(np.median(plain, axis=0)) < _PLAIN
    return np.asarray(np.where((agreeing >= _LEAST_SHARE) & faint, z / usual, 0))
