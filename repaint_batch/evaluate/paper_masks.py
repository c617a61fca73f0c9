"""The six masks of the paper at any resolution.

Wide and Narrow are strokes and boxes drawn as LaMa's generators draw them at 256 px ("thick" and "thin"), every length
scaled to the picture; a draw that hides more than half of the picture is drawn again. The other four are fixed.

Source: Lugmayr et al., CVPR 2022, section 5.1; Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier
Convolutions", WACV 2022, appendix on mask generation.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

MaskName = Literal["wide", "narrow", "sr2x", "altlines", "half", "expand"]
MASKS: tuple[MaskName, ...] = get_args(MaskName)
_DRAWN_AT_PX = 256
_LARGEST_HOLE = 0.5
_TRIES = 200


@dataclass(frozen=True)
class Strokes:
    """How a random mask is drawn; lengths in pixels of a 256 px picture.

    Attributes:
        count: least and most strokes.
        width_px: least and most width of a stroke.
        length_px: least and most length of one straight piece.
        pieces: least and most pieces of a stroke.
        box_probability: chance of boxes instead of nothing beside the strokes.
        box_px: least and most side of a box.
    """

    count: tuple[int, int]
    width_px: tuple[float, float]
    length_px: tuple[float, float]
    pieces: tuple[int, int] = (1, 4)
    box_probability: float = 0.0
    box_px: tuple[float, float] = (30, 150)


WIDE = Strokes(count=(1, 5), width_px=(20, 100), length_px=(20, 200), box_probability=0.3)
NARROW = Strokes(count=(4, 50), width_px=(2, 10), length_px=(8, 40))


def paper_mask(name: MaskName, height: int, width: int, seed: int = 0) -> Tensor:
    """Return one `keep_mask`, (1, H, W) bool, True = known pixel; `seed` matters to ``wide`` and ``narrow`` alone."""
    keep = torch.ones((1, height, width), dtype=torch.bool)
    match name:
        case "wide":
            return draw_strokes(WIDE, height, width, seed)
        case "narrow":
            return draw_strokes(NARROW, height, width, seed)
        case "sr2x":
            keep[:] = False
            keep[:, ::2, ::2] = True
        case "altlines":
            keep[:, 1::2] = False
        case "half":
            keep[:, :, width // 2 :] = False
        case "expand":
            keep[:] = False
            top, left = (height - height // 4) // 2, (width - width // 4) // 2
            keep[:, top : top + max(1, height // 4), left : left + max(1, width // 4)] = True
    return keep


def draw_strokes(strokes: Strokes, height: int, width: int, seed: int) -> Tensor:
    """Return a keep mask (1, H, W) bool whose hole is drawn by `strokes`: never empty, at most half of the picture."""
    rng = np.random.default_rng([seed, height, width])
    largest = _LARGEST_HOLE * height * width
    for _ in range(_TRIES):
        hole = _draw(strokes, height, width, rng)
        if 0 < hole.sum() <= largest:
            return torch.from_numpy(~hole)[None]
    # Very small pictures can refuse every draw; a box in the middle is the same kind of hole.
    hole = np.zeros((height, width), dtype=bool)
    hole[height // 4 : height // 4 + max(1, height // 2), width // 4 : width // 4 + max(1, width // 2)] = True
    return torch.from_numpy(~hole)[None]


def _draw(strokes: Strokes, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    scale = min(height, width) / _DRAWN_AT_PX
    y, x = np.mgrid[:height, :width] + 0.5
    hole = np.zeros((height, width), dtype=bool)
    for _ in range(rng.integers(strokes.count[0], strokes.count[1] + 1)):
        here = np.array([rng.uniform(0, height), rng.uniform(0, width)])
        radius = rng.uniform(*strokes.width_px) * scale / 2
        for _ in range(rng.integers(strokes.pieces[0], strokes.pieces[1] + 1)):
            angle = rng.uniform(0, 2 * math.pi)
            step = rng.uniform(*strokes.length_px) * scale * np.array([math.sin(angle), math.cos(angle)])
            there = np.clip(here + step, 0, [height, width])
            # A stroke thinner than a pixel still hides the pixels it runs through.
            hole |= _distance_to_segment(y, x, here, there) <= max(radius, 0.5)
            here = there
    if rng.uniform() < strokes.box_probability:
        for _ in range(rng.integers(1, 4)):
            sides = np.maximum(1, np.round(rng.uniform(*strokes.box_px, size=2) * scale)).astype(int)
            top, left = (int(rng.integers(0, max(1, n - side + 1))) for n, side in zip(hole.shape, sides, strict=True))
            hole[top : top + sides[0], left : left + sides[1]] = True
    return hole


def _distance_to_segment(y: np.ndarray, x: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = end - start
    length = max(float(along @ along), 1e-12)
    share = np.clip(((y - start[0]) * along[0] + (x - start[1]) * along[1]) / length, 0, 1)
    distance: np.ndarray = np.hypot(y - start[0] - share * along[0], x - start[1] - share * along[1])
    return distance
