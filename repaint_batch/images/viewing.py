"""A row's pictures for people: the same reader, mask and colours as the job's, upright and in 8 bits.

Who looks at a result must see the hole that was restored and the colours that the prior saw, and nothing that a second reader
made of the same files.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import SampleError
from repaint_batch.images.codec import read_reduced
from repaint_batch.images.colour import Colours
from repaint_batch.images.masks import read_keep_masks
from repaint_batch.images.orientation import upright
from repaint_batch.images.picture import Extent, Picture

_AS_IT_IS = ("1", "L", "RGB")


@dataclass(frozen=True, eq=False)
class View:
    """What a row shows; None for what cannot be read.

    Attributes:
        before: RGB picture as it came, upright.
        after: RGB picture as it was restored, upright.
        hole: (H, W) bool, upright, True where pixels were to be restored; of the picture's full size.
        pages: how many the picture has.
    """

    before: Image.Image | None
    after: Image.Image | None
    hole: np.ndarray | None
    pages: int = 1


def view(
    source: bytes | None, mask: bytes | None, output: bytes | None, config: ImagesConfig, least_px: int | None = None
) -> View:
    """Return what a row shows; of several pages the first that has a hole.

    Args:
        source: the picture as it came, encoded.
        mask: its mask, encoded.
        output: the restored picture, encoded.
        config: the job's: what marks a hole, caps on what is decoded.
        least_px: what is decoded at a fraction of its size, as a JPEG is ten times faster, need be no larger than this. None:
            at its full size.
    """
    before, after = _read(source, config, least_px), _read(output, _allowing(output, config), least_px)
    extents = [extent for _, extent in before or after]
    keep_masks = _keep_masks(mask, extents, config)
    page = next((number for number, keep in enumerate(keep_masks) if not keep.all()), 0)
    if not keep_masks:
        return View(_shown(before, 0), _shown(after, 0), None, len(extents))
    hole = upright(~keep_masks[page], extents[page].orientation)
    return View(_shown(before, page, keep_masks[page]), _shown(after, page, keep_masks[page]), hole, len(extents))


def _allowing(output: bytes | None, config: ImagesConfig) -> ImagesConfig:
    """Return the config with a cap on bytes that a result of ours is not over: without loss it may be larger than its source."""
    return config.model_copy(update={"max_bytes": max(config.max_bytes, len(output or b""))})


def _read(data: bytes | None, config: ImagesConfig, least_px: int | None) -> list[tuple[Picture, Extent]]:
    if data is None:
        return []
    try:
        return read_reduced(data, config, least_px)
    except SampleError:  # who looks is shown what there is
        return []


def _keep_masks(mask: bytes | None, extents: list[Extent], config: ImagesConfig) -> list[np.ndarray]:
    if mask is None or not extents:
        return []
    try:
        return read_keep_masks(mask, extents, config)
    except SampleError:
        return []


def _shown(pages: list[tuple[Picture, Extent]], page: int, keep_mask: np.ndarray | None = None) -> Image.Image | None:
    """Return a page in the colours that the prior saw, upright."""
    if page >= len(pages):
        return None
    picture, extent = pages[page]
    if isinstance(picture.pixels, Image.Image) and picture.mode in _AS_IT_IS:
        return Image.fromarray(upright(np.asarray(picture.pixels.convert("RGB")), extent.orientation))
    width, height = picture.size
    if keep_mask is None or keep_mask.shape != (height, width):
        keep_mask = np.ones((height, width), dtype=bool)
    if picture.layout.dtype.kind == "f":
        samples = picture.whole()
        keep_mask = keep_mask & (np.isfinite(samples) if samples.ndim == 2 else np.isfinite(samples).all(axis=2))
    colours = Colours.of(picture, keep_mask, opaque=False)
    rgb = np.empty((height, width, 3), np.uint8)
    for box in picture.strips():
        rgb[box[1] : box[3]] = np.rint((colours.to_rgb(picture.crop(box)) + 1) * 127.5)
    return Image.fromarray(upright(rgb, extent.orientation))
