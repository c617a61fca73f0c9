"""Proof that nothing but the hole has changed, and a figure for how well the hole meets its surroundings."""

import numpy as np
from PIL import Image, ImageChops

from repaint_batch.config import ImagesConfig
from repaint_batch.images.codec import Box, Picture, read_picture

_HALF_STEP = 0.5 / 127.5
"""Half a grey level of 8 bits, in the units of [-1, 1]."""
_RGB_PER_YCBCR = 1 + 1.772
"""A difference of 1 in luma and chroma makes at most this much in blue, and less in red and green (JFIF 1.02)."""
_ROUNDING = 2


class Seam:
    """Gradients across the rim of a hole and inside it, gathered part by part."""

    def __init__(self) -> None:
        self._across = _Mean()
        self._inside = _Mean()

    def add(self, rgb: np.ndarray, hole: np.ndarray) -> None:
        """Add a part: (h, w, 3) RGB in [-1, 1] as restored, and (h, w) bool, True = was restored."""
        grey = rgb.mean(axis=2, dtype=np.float32)
        for values, holes in ((grey, hole), (grey.T, hole.T)):
            steps = np.abs(np.diff(values, axis=0))
            self._across.add(steps[holes[1:] != holes[:-1]])
            self._inside.add(steps[holes[1:] & holes[:-1]])

    def score(self) -> float | None:
        """Return the mean step across the rim over that inside; None if either has no pixels.

        Half a grey level is added to both, so that two flat areas score 1.
        """
        if not self._across.count or not self._inside.count:
            return None
        return (self._across.value + _HALF_STEP) / (self._inside.value + _HALF_STEP)


class _Mean:
    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    @property
    def value(self) -> float:
        return self.sum / self.count

    def add(self, values: np.ndarray) -> None:
        self.sum += float(values.sum(dtype=np.float64))
        self.count += values.size


def largest_known_difference(picture: Picture, keep_mask: np.ndarray, data: bytes) -> float:
    """Return the largest difference of a known sample between `picture` and the file `data`, read back.

    Args:
        picture: what `data` was encoded from.
        keep_mask: (H, W) bool, True = known pixel.
        data: the encoded picture.
    """
    config = ImagesConfig(max_bytes=len(data), frames="first")
    written = read_picture(data, config, as_coded=picture.mode == "YCbCr")
    if written.size != picture.size:
        return float("inf")
    if written.mode == picture.mode and picture.mode in ("L", "LA", "RGB", "RGBA", "YCbCr", "CMYK"):
        return float(_largest_byte(picture, written, keep_mask))
    largest = 0.0
    for box in picture.strips():
        known = keep_mask[box[1] : box[3]]
        ours, theirs = _comparable(picture, written, box)
        if (ours[known] != theirs[known]).any():
            largest = max(largest, float(np.abs(ours[known].astype(np.float64) - theirs[known]).max()))
    return largest


def _largest_byte(one: Picture, other: Picture, keep_mask: np.ndarray) -> int:
    strips = []
    for box in one.strips():
        pair = one.image.crop(box), other.image.crop(box)
        strips.append((_largest_in_strip(*pair, keep_mask[box[1] : box[3]]), box))
    if one.mode != "YCbCr":
        return max(largest for largest, _ in strips)
    # In RGB, as others will compare; but only the strips that can hold the largest difference are converted.
    largest = 0
    for coded, box in sorted(strips, reverse=True):
        if coded * _RGB_PER_YCBCR + _ROUNDING <= largest or not coded:
            break
        near = _where_over(one, other, box, int((largest - _ROUNDING) / _RGB_PER_YCBCR))
        ours, theirs = one.image.crop(near).convert("RGB"), other.image.crop(near).convert("RGB")
        largest = max(largest, _largest_in_strip(ours, theirs, keep_mask[near[1] : near[3], near[0] : near[2]]))
    return largest


def _where_over(one: Picture, other: Picture, box: Box, least: int) -> Box:
    """Return the part of `box` outside which no byte differs by more than `least`."""
    difference = ImageChops.difference(one.image.crop(box), other.image.crop(box))
    steps = [255 if step > least else 0 for step in range(256)]
    found = difference.point(steps * len(difference.getbands())).getbbox(alpha_only=False)
    if found is None:
        return box
    return (box[0] + found[0], box[1] + found[1], box[0] + found[2], box[1] + found[3])


def _largest_in_strip(ours: Image.Image, theirs: Image.Image, known: np.ndarray) -> int:
    # All in Pillow, and folded before numpy looks: numpy needs longer to be handed the bytes.
    difference = ImageChops.difference(ours, theirs)
    if difference.getbbox(alpha_only=False) is None:
        return 0
    if not known.all():
        nothing = (0,) * len(difference.getbands())
        difference.paste(nothing if len(nothing) > 1 else 0, (0, 0), Image.fromarray(~known))
    while difference.height > 4:
        half = -(-difference.height // 2)
        width, height = difference.size
        lower = difference.crop((0, height - half, width, height))
        difference = ImageChops.lighter(difference.crop((0, 0, width, half)), lower)
    return int(np.asarray(difference).max())


def _comparable(one: Picture, other: Picture, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Return both pictures' samples in `box`: their own where the modes agree, the colours they show otherwise."""
    palettes = one.mode in ("P", "PA") or other.mode in ("P", "PA")
    if not palettes and one.mode.removesuffix("B") == other.mode.removesuffix("B"):
        ours, theirs = one.crop(box), other.crop(box)
        if one.mode == "F":
            return ours.view(np.uint32), theirs.view(np.uint32)
        return ours, theirs
    return np.asarray(one.image.crop(box).convert("RGBA")), np.asarray(other.image.crop(box).convert("RGBA"))
