"""Torn corners and missing borders: flat paper white or scanner black that comes in from the picture's edge and ends abruptly.

A region of one colour that touches the edge, as light or as dark as paper and beds of scanners are, even in itself, and bounded
by a step nearly everywhere. White skies end softly somewhere, or are no corner's; a snow field has shades.
"""

import numpy as np
from scipy import ndimage

_LIGHT, _DARK = 236, 18  # levels of 255
_SPREAD = 10
_STEP = 30
_LEAST_STEEP = 0.85
"""Share of a region's rim that must be a step."""
_AREA = (0.0005, 0.3)


def missing_edges(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) bool, True where a picture (H, W, 3) uint8 is missing at its edge."""
    hole = np.zeros(pixels.shape[:2], bool)
    low, high = pixels.min(2), pixels.max(2)
    grey = pixels.mean(2)
    for flat in (low >= _LIGHT, high <= _DARK):
        # Beyond the edge it goes on; otherwise thin bridges to what is flat inside would be opened there too.
        labels, count = ndimage.label(ndimage.binary_opening(np.pad(flat, 2, mode="edge"))[2:-2, 2:-2])
        if not count:
            continue
        rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        for number in np.unique(rim[rim > 0]):
            region = labels == number
            if _AREA[0] <= region.mean() <= _AREA[1] and _holds_corner(region) and _is_abrupt(region, grey):
                hole |= ndimage.binary_dilation(region, iterations=3)
    return hole


def _holds_corner(region: np.ndarray) -> bool:
    return bool(region[[0, 0, -1, -1], [0, -1, 0, -1]].any())


def _is_abrupt(region: np.ndarray, grey: np.ndarray) -> bool:
    inside = float(grey[region].mean())
    if float(grey[region].std()) > _SPREAD:
        return False
    # A scan's blur lies between: what is compared stands four pixels outside.
    outside = ndimage.binary_dilation(region, iterations=5) & ~ndimage.binary_dilation(region, iterations=4)
    return bool(outside.any()) and float((np.abs(grey[outside] - inside) >= _STEP).mean()) >= _LEAST_STEEP
