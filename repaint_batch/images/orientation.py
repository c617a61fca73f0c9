"""EXIF orientations as array operations.

Source: CIPA DC-008 (Exif 3.0), tag 0x0112: where the stored picture's row 0 and column 0 lie when it is displayed.
"""

import numpy as np


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Return (H, W, ...) pixels as displayed, from pixels as stored; a view."""
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored


def stored(displayed: np.ndarray, orientation: int) -> np.ndarray:
    """Return (H, W, ...) pixels as stored, from pixels as displayed; the inverse of `upright`."""
    if orientation in (3, 4, 7, 8):
        displayed = displayed[::-1]
    if orientation in (2, 3, 6, 7):
        displayed = displayed[:, ::-1]
    if orientation >= 5:
        displayed = displayed.swapaxes(0, 1)
    return displayed
