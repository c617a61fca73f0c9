"""What stands at the same place in many pictures of one size: stamps, watermarks, logos, dust on a sensor, streaks of a scanner.

Where an overlay of colour c and opacity a lies over pictures x_i, y_i = x_i + a (c - x_i): at its outline every picture has a
step of the same sign, and the median over pictures of the gradient, which is about 0 for pictures that have nothing in common,
is the step of a (c - median x). Gradients that are not of one sign in nearly all pictures are set to 0, and the field that is
left is integrated:

    laplacian W = divergence of the median gradient,   W ~ a (c - x) inside, 0 outside.

It is taken to lie on every picture of that size: a single picture that lacks it is not told from one that has it.

Source: the median of gradients is from Dekel et al., On the Effectiveness of Visible Watermarks, CVPR 2017, section 3.1.
"""

from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage

LEAST_PICTURES = 8
MOST_PICTURES = 48
"""More of one size are sampled."""
_LEAST_STEP = 2.5  # levels of 255
_LEAST_SHARE_OF_STEP = 0.4
_OUTLINE_PX = 12
_STRIP_ROWS = 64


def overlay_of(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return (H, W) bool, True where all of the pictures (H, W) uint8 show the same thing over what they show.

    Raises:
        ValueError: fewer than `LEAST_PICTURES`: chance alone has many gradients of one sign.
    """
    if len(pictures) < LEAST_PICTURES:
        raise ValueError(f"{len(pictures)} pictures, fewer than {LEAST_PICTURES}")
    across, is_across = _common_gradient(pictures, axis=1)
    down, is_down = _common_gradient(pictures, axis=0)
    outline = _large(is_across | is_down, _OUTLINE_PX)
    if not outline.any():
        return np.zeros(pictures[0].shape, bool)
    near = ndimage.binary_dilation(outline, iterations=2)
    field = integrated(np.where(near, across, 0), np.where(near, down, 0))
    field -= np.median(field)
    return _covered(np.abs(field), outline)


def _covered(height: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Return where an integrated field stands out, in regions that an outline bounds."""
    step = float(np.percentile(ndimage.maximum_filter(height, 3)[outline], 75))
    labels, count = ndimage.label(height > max(_LEAST_STEP, _LEAST_SHARE_OF_STEP * step), structure=np.ones((3, 3)))
    touched = np.bincount(labels[ndimage.binary_dilation(outline)], minlength=count + 1)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    kept = (touched >= _OUTLINE_PX / 2) & (area < labels.size // 3)
    kept[0] = False
    return np.asarray(kept[labels])


def _common_gradient(pictures: Sequence[np.ndarray], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W) the median forward difference along an axis, 0 unless most pictures agree in its sign, and where they do."""
    height, width = pictures[0].shape
    agreeing = min(0.9, 4.0 / np.sqrt(len(pictures)))
    gradient = np.zeros((height, width), np.float32)
    for top in range(0, height, _STRIP_ROWS):
        stop = min(top + _STRIP_ROWS, height)
        strip = np.stack([picture[top : stop + (axis == 0)] for picture in pictures]).astype(np.int16)
        steps = np.diff(strip, axis=axis + 1)
        # Steps of one level are rounding.
        share = np.abs(np.mean(np.sign(steps) * (np.abs(steps) > 1), axis=0))
        gradient[top : top + steps.shape[1], : steps.shape[2]] = np.where(share >= agreeing, np.median(steps, axis=0), 0)
    return gradient, np.abs(gradient) >= _LEAST_STEP


def _large(marks: np.ndarray, least_px: int) -> np.ndarray:
    labels, count = ndimage.label(ndimage.binary_dilation(marks, structure=np.ones((3, 3))), structure=np.ones((3, 3)))
    inside = np.bincount(labels[marks], minlength=count + 1)
    return np.asarray(marks & (inside >= least_px)[labels])


def integrated(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return the field (H, W) whose forward differences are nearest to `across` and `down`; its mean is 0."""
    height, width = across.shape
    divergence = across.copy()
    divergence[:, 1:] -= across[:, :-1]
    divergence += down
    divergence[1:] -= down[:-1]
    spectrum = fft.dctn(divergence.astype(np.float32), type=2, norm="ortho")
    rows = 2 * np.cos(np.pi * np.arange(height) / height) - 2
    columns = 2 * np.cos(np.pi * np.arange(width) / width) - 2
    eigenvalues = rows[:, None] + columns[None, :]
    eigenvalues[0, 0] = 1.0
    spectrum /= eigenvalues
    spectrum[0, 0] = 0.0
    return np.asarray(fft.idctn(spectrum, type=2, norm="ortho"))
