"""Colours of a filling, held to the tones around the hole.

A sepia print, a cyanotype, a black and white photograph scanned in colour, a piece of sky: in many places colour is a function
of light alone. With y the luma of an RGB pixel x, and c(y) the mean of x - y over known pixels of that luma, it strays from
their tone by

    d = x - y - c(y),        luma(d) = 0

A restored pixel x becomes y + c(y) + d min(1, r / |d|), where r is 1.5 times the largest |d| of known pixels within 16 px or the
99th percentile of |d| around the part, whichever is larger. So a filling strays little further than nearby known
pixels: colourful places do not change, toned prints get no coloured speck. Luma stays the prior's.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from repaint_batch.images.box import Box, grown
from repaint_batch.images.colour import LUMA, Colours
from repaint_batch.images.picture import Picture

NEAR_PX = 16
_FURTHER = 1.5
"""A hole has extremes of its own, beyond those of the pixels around it."""
_REACHES_PX = (64, 256, 2**16)
"""How far around a part known pixels are looked for, until there are enough."""
_LEAST_KNOWN = 1024
_MOST_LOOKED_AT = 2**14
"""Pixels around a part of which tones are told, in a grid."""
_BINS = 16
_QUANTILE = 0.99
_LEAST_STRAY = 2 / 127.5
"""Greys are up to two levels of 255 apart by rounding and JPEG alone."""


@dataclass(frozen=True, eq=False)
class Tones:
    """Colour as a function of luma, and how far known pixels stray from it.

    Attributes:
        lumas: (K,) rising knots in [-1, 1].
        offsets: (K, 3) x - y at the knots.
        stray: distance in [-1, 1] that one known pixel in a hundred exceeds.
    """

    lumas: np.ndarray
    offsets: np.ndarray
    stray: float

    @classmethod
    def around(cls, part: Box, picture: Picture, colours: Colours, keep_mask: np.ndarray) -> "Tones | None":
        """Return the tones of known pixels around a part of a picture; None where there are too few.

        Args:
            part: box in the picture.
            picture: of which known pixels alone are looked at.
            colours: of the picture.
            keep_mask: (H, W) bool, True = known pixel.
        """
        for reach in _REACHES_PX:
            left, top, right, bottom = box = grown(part, reach, picture.size)
            step = math.isqrt((right - left) * (bottom - top) // _MOST_LOOKED_AT) + 1
            known = keep_mask[top:bottom:step, left:right:step]
            if known.sum() >= _LEAST_KNOWN:
                return cls.of(colours.to_rgb(picture.crop(box)[::step, ::step].copy())[known])
        return None

    @classmethod
    def of(cls, rgb: np.ndarray) -> "Tones":
        """Return the tones of (N, 3) known pixels in [-1, 1]."""
        luma = rgb @ LUMA
        bins = np.clip((luma + 1) / 2 * _BINS, 0, _BINS - 1).astype(int)
        count = np.bincount(bins, minlength=_BINS)
        some = count > 0
        sums = [np.bincount(bins, values, _BINS)[some] for values in (luma, *(rgb - luma[:, None]).T)]
        means = np.stack(sums, 1) / count[some, None]
        tones = cls(means[:, 0], means[:, 1:], 0.0)
        stray = float(np.quantile(np.linalg.norm(tones.strayed(rgb), axis=-1), _QUANTILE))
        return cls(tones.lumas, tones.offsets, max(stray, _LEAST_STRAY))

    def strayed(self, rgb: np.ndarray) -> np.ndarray:
        """Return d of (..., 3) pixels, see the module."""
        return np.asarray(rgb - self._toned(rgb @ LUMA))

    def _toned(self, luma: np.ndarray) -> np.ndarray:
        offsets = [np.interp(luma, self.lumas, self.offsets[:, i]) for i in range(3)]
        return np.asarray(luma[..., None] + np.stack(offsets, -1), np.float32)

    def held(self, rgb: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return `rgb` with its unknown pixels held to these tones.

        Args:
            rgb: (h, w, 3) float32 in [-1, 1], the hole filled.
            known: (h, w) bool.
        """
        d = self.strayed(rgb)
        length = np.linalg.norm(d, axis=-1)
        near = ndimage.maximum_filter(np.where(known, length, 0), 2 * NEAR_PX + 1, mode="constant")
        share = np.minimum(1, _FURTHER * np.maximum(near, self.stray) / np.maximum(length, 1e-6))
        strays = ~known & (share < 1)
        held = rgb.copy()
        held[strays] -= (1 - share[strays, None]) * d[strays]
        return held
