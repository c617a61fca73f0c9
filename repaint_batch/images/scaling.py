"""Between a picture's pixels and a window's: cut and shrink on the way in, enlarge on the way out.

Holes carry no weight: a window's pixel is the weighted mean of known pixels alone, so that nothing of what is to vanish
bleeds into what the prior takes for known. Both directions work on parts of a picture, never on all of it at once.
"""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from repaint_batch.images.box import Box
from repaint_batch.images.codec import Picture
from repaint_batch.images.colour import Colours
from repaint_batch.images.windows import Window

_STRIP_PIXELS = 2**20
# Not negative anywhere, so that a weighted mean stays between its values.
_SHRINK = Image.Resampling.HAMMING
_ENLARGE = Image.Resampling.LANCZOS
_ENLARGE_REACH = 4


def cut(
    picture: Picture, colours: Colours, keep_mask: np.ndarray, window: Window, resolution_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the prior sees of one window, in the orientation in which the picture is stored.

    Returns:
        (R, R, 3) float32 in [-1, 1], 0 where nothing is known; (R, R) bool, True where all pixels below are known.
    """
    factor = max(1, window.side_px // (2 * resolution_px))
    light, weight = _reduced(picture, colours, keep_mask, window, factor)
    cells = -(-window.side_px // factor)
    missing = ((0, cells - weight.shape[0]), (0, cells - weight.shape[1]))
    light = np.pad(light, (*missing, (0, 0)), mode="symmetric")
    weight = np.pad(weight, missing, mode="symmetric")
    if window.side_px == resolution_px:
        return light, weight == 1
    box = (0.0, 0.0, window.side_px / factor, window.side_px / factor)
    size = (resolution_px, resolution_px)
    total = _resize(weight, size, _SHRINK, box)[..., None]
    shrunk = np.stack([_resize(light[..., i], size, _SHRINK, box) for i in range(3)], axis=-1)
    unknown = _resize((weight < 1).astype(np.float32), size, Image.Resampling.BOX, box)
    known = unknown < 1e-6
    rgb = np.where(total > 1e-6, shrunk / np.maximum(total, 1e-6), 0)
    return np.clip(rgb, -1, 1).astype(np.float32), known


def _reduced(
    picture: Picture, colours: Colours, keep_mask: np.ndarray, window: Window, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of known light and shares of known pixels over squares of `factor` pixels, inside the picture."""
    right = min(window.left + window.side_px, picture.size[0])
    bottom = min(window.top + window.side_px, picture.size[1])
    columns = np.arange(0, right - window.left, factor)
    step = max(1, _STRIP_PIXELS // (right - window.left) // factor) * factor
    lights, weights = [], []
    for top in range(window.top, bottom, step):
        low = min(top + step, bottom)
        known = keep_mask[top:low, window.left : right]
        light = colours.to_rgb(picture.crop((window.left, top, right, low)))
        light[~known] = 0
        weight = known.astype(np.float32)
        if factor > 1:
            rows = np.arange(0, low - top, factor)
            area = np.outer(np.diff([*rows, low - top]), np.diff([*columns, right - window.left])).astype(np.float32)
            weight = np.stack([weight[row : row + factor].sum(axis=0) for row in rows])
            light = np.stack([light[row : row + factor].sum(axis=0) for row in rows])
            weight = np.asarray(np.add.reduceat(weight, columns, axis=1) / area)
            light = np.add.reduceat(light, columns, axis=1) / area[..., None]
        lights.append(light)
        weights.append(weight)
    return np.concatenate(lights), np.concatenate(weights)


def enlarged(restored: np.ndarray, window: Window, box: Box) -> np.ndarray:
    """Return the part of a restored window that lies over `box` of the picture, at the picture's scale.

    Args:
        restored: (R, R, 3) float32, in the orientation in which the picture is stored.
        window: where it lies.
        box: inside the window.
    """
    left, top, right, bottom = (box[0] - window.left, box[1] - window.top, box[2] - window.left, box[3] - window.top)
    if window.side_px == len(restored):
        return restored[top:bottom, left:right]
    scale = window.side_px / len(restored)
    # A resampled part equals the part of the whole resampled only away from its edges.
    reach = math.ceil(_ENLARGE_REACH * max(scale, 1))
    side = window.side_px
    outer = (max(left - reach, 0), max(top - reach, 0), min(right + reach, side), min(bottom + reach, side))
    size = (outer[2] - outer[0], outer[3] - outer[1])
    end = float(len(restored))
    source = (outer[0] / scale, outer[1] / scale, min(outer[2] / scale, end), min(outer[3] / scale, end))
    inner = (slice(top - outer[1], bottom - outer[1]), slice(left - outer[0], right - outer[0]))
    return resized(restored, size, source)[inner]


def resized(pixels: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Return (height, width, 3) float32: the part of (h, w, 3) `pixels` inside `box` enlarged to `size` (width, height)."""
    return np.stack([_resize(pixels[..., i], size, _ENLARGE, box) for i in range(pixels.shape[-1])], axis=-1)


def blurred(values: np.ndarray, radius_px: int) -> np.ndarray:
    """Return (..., h, w) float32 `values` averaged over squares of side 2 `radius_px` + 1, twice: a tent."""
    for _ in range(2):
        values = ndimage.uniform_filter(values, 2 * radius_px + 1, mode="constant", axes=(-2, -1))
    return values


def rim_correction(difference: np.ndarray, keep_mask: np.ndarray, feather_px: int) -> np.ndarray:
    """Return (h, w, 3) what to add to a restoration so that it meets its surroundings.

    At known pixels the restoration, solved at another scale, differs from the picture. The mean of that difference over
    the known neighbours is added in full at the rim, and less with the share of known neighbours, to nothing inside;
    first over wide neighbourhoods, for brightness and colour, then over ever closer ones, for what ends at the rim.
    """
    difference = np.where(keep_mask[..., None], difference, 0).astype(np.float32)
    correction = np.zeros_like(difference)
    radius = max(1, feather_px // 2)
    while radius:
        share = blurred(keep_mask.astype(np.float32), radius)
        weight = np.minimum(2 * share, 1)[..., None]
        mean = np.moveaxis(blurred(np.moveaxis(difference, 2, 0), radius), 0, 2)
        correction += weight * (mean / np.maximum(share, 1e-6)[..., None] - correction)
        radius //= 2
    return correction


def _resize(
    values: np.ndarray, size: tuple[int, int], resampling: Image.Resampling, box: tuple[float, float, float, float]
) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize(size, resampling, box=box))
