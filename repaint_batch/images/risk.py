"""The risk that a restoration went wrong: the share of restorations that err less, as far as the picture itself tells.

Two things are read from the restored picture and its hole, at no network evaluation:

    share   pixels of the hole over those of its bounding box and 16 px around it: how much had to be drawn of what is looked at
    relief  root mean square of the filling less a smooth continuation of its surroundings, in [-1, 1]: how much was drawn that
            the surroundings do not give

    z = a log share + b log relief + c,        risk = Phi(z / sqrt(2 - R²))

z foretells the normal score of the perceptual error (Phi of it is the error's rank), of which R² is explained: the risk is the
mean rank of restorations with that z. a, b, c and R² are least squares on 24 crops of photographs and 72 damaged emoji,
twice each, drawn as below, under the preset ``preview``; what judges is of other photographs and emoji. No prior was trained on
any of them.

``python jobs/measure_risk.py`` measures (its ``--half fit``, then ``--fit``, fits anew). Rank correlation with the perceptual
error, 95 % intervals over pictures, and how much of the worst tenth is among the first fifth:

=====================================  ==================  ===========  ==================
50 crops of 9 held-out photographs     correlation         hole's RMSE  found
=====================================  ==================  ===========  ==================
risk                                   0.92 (0.86, 0.96)   0.45         1.00 (0.60, 1.00)
pixels of the hole                     0.79 (0.68, 0.86)   0.18         1.00 (0.80, 1.00)
seam score, distance from 1            0.30 (0.03, 0.54)   0.51         0.60 (0.20, 1.00)
=====================================  ==================  ===========  ==================

=====================================  ==================  ===========  ==================
54 damaged ones of 18 held-out emoji   correlation         hole's RMSE  found
=====================================  ==================  ===========  ==================
risk                                   0.65 (0.44, 0.81)   0.50         0.70 (0.40, 1.00)
pixels of the hole                     0.65 (0.43, 0.80)   0.45         0.60 (0.30, 1.00)
seam score, distance from 1            -0.15 (-0.34, 0.04) -0.06        0.00 (0.00, 0.30)
=====================================  ==================  ===========  ==================

Most of it is the size of what was drawn: the error is that of the hole's surroundings, and damage of all sizes is compared. Of
single pixels (RMSE) it says less. Within one kind of damage the correlation is 0.90 and 0.66.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from repaint_batch.images.scaling import blurred

REACH_PX = 38
"""How far around a part evidence is taken from."""
MOST_PARTS = 24
"""Parts of a page that evidence is taken from: a large picture full of dust has hundreds, which say the same."""
LIKELY = 0.7
"""Risk from which on a picture is called likely wrong, and a reason is given."""
_MARGIN_PX = 16
_RADII_PX = (19, 9, 4, 2, 1)
_LEAST_WEIGHT = 0.1
"""Share of known pixels in a blur from which on it counts in full."""
_HALF_STEP = 0.5 / 127.5
_SLOPES = (0.91, 0.35)
_MEANS = (-2.47, -2.23)
_EXPLAINED = 0.74
_WORDS = ("the hole is large beside what is known around it", "what was drawn does not follow from its surroundings")


class Features(NamedTuple):
    """What a risk is computed from, see the module's docstring; both above 0."""

    share: float
    relief: float


class Risk(NamedTuple):
    """A risk.

    Attributes:
        score: 0 .. 1, rounded to thousandths; None where there is no hole, or nothing known around it.
        reason: from `LIKELY` on, what speaks for an error: it follows "likely wrong because".
        features: what it was computed from.
    """

    score: float | None
    reason: str | None
    features: Features | None = None


class Evidence:
    """What a restored picture tells, gathered page by page; of a page with very many parts, from some of them."""

    def __init__(self) -> None:
        self._hole_px = self._around_px = self._drawn_px = 0
        self._squares = 0.0

    def add_page(self, hole: np.ndarray) -> None:
        """Take the hole of a page, (H, W) bool, True = hole."""
        if not hole.any():
            return
        sides = []
        for axis in (0, 1):
            at = np.flatnonzero(hole.any(1 - axis))
            sides.append(min(int(at[-1]) + 1 + _MARGIN_PX, hole.shape[axis]) - max(int(at[0]) - _MARGIN_PX, 0))
        self._hole_px += int(hole.sum())
        self._around_px += sides[0] * sides[1]

    def add(self, rgb: np.ndarray, hole: np.ndarray, inner: tuple[slice, slice]) -> None:
        """Take a part: (h, w, 3) RGB in [-1, 1] as restored, (h, w) bool, True = hole, and where in them the part lies."""
        mine = np.zeros_like(hole)
        mine[inner] = hole[inner]
        smooth = continued(rgb, ~hole)
        self._drawn_px += int(mine.sum())
        self._squares += float(np.square(rgb[mine] - smooth[mine]).mean(1).sum(dtype=np.float64))

    def risk(self) -> Risk:
        """Return the risk."""
        if not 0 < self._hole_px < self._around_px:
            return Risk(None, None)
        relief = math.sqrt(self._squares / self._drawn_px) + _HALF_STEP
        return risk_of(Features(self._hole_px / self._around_px, relief))


def continued(rgb: np.ndarray, keep_mask: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) float32 `rgb`, its hole smoothly continued: means of known pixels, the closer the finer."""
    planes = np.stack([keep_mask, *np.moveaxis(np.where(keep_mask[..., None], rgb, 0), 2, 0)]).astype(np.float32)
    smooth = np.broadcast_to(planes[1:].sum((1, 2), keepdims=True) / max(1, int(keep_mask.sum())), planes[1:].shape)
    for radius in _RADII_PX:
        weight, *means = blurred(planes, radius)
        smooth = smooth + np.minimum(weight / _LEAST_WEIGHT, 1) * (means / np.maximum(weight, 1e-6) - smooth)
    return np.asarray(np.where(keep_mask[..., None], rgb, np.moveaxis(smooth, 0, 2)), np.float32)


def risk_of(features: Features) -> Risk:
    """Return the risk of a restoration with such features, and in words what speaks for an error."""
    parts = [slope * (math.log(value) - mean) for slope, value, mean in zip(_SLOPES, features, _MEANS, strict=True)]
    score = round(NormalDist().cdf(sum(parts) / math.sqrt(2 - _EXPLAINED)), 3)
    if score < LIKELY:
        return Risk(score, None, features)
    most = max(parts)
    return Risk(score, " and ".join(words for part, words in zip(parts, _WORDS, strict=True) if part > most / 3), features)
