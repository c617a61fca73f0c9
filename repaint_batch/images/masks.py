"""What is to be restored: masks drawn in any tool, or shapes, to one boolean array.

A mask is a picture, see `marking`, or JSON of boxes, polygons or annotations, see `shapes`.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import MaskInvalid
from repaint_batch.images.codec import Picture, check_bytes, read_mask_pages, read_mask_picture
from repaint_batch.images.marking import marked
from repaint_batch.images.orientation import stored, upright
from repaint_batch.images.picture import Placed
from repaint_batch.images.shapes import drawn, is_shapes, read_shapes, shapes_to_json

__all__ = ["as_drawn", "read_keep_mask", "read_keep_masks", "shapes_to_json"]


def as_drawn(config: ImagesConfig) -> ImagesConfig:
    """Return `config` for masks that were drawn on the pictures as displayed: white, and no pixel more, is restored."""
    drawn = {"hole": "white", "mask_threshold": 0.5, "mask_grow_px": 0, "mask_resize": False, "mask_drawn_on": "upright"}
    return config.model_copy(update=drawn)


def read_keep_mask(mask: bytes, picture: Placed, config: ImagesConfig) -> np.ndarray:
    """Return (H, W) bool over the picture as stored, True = known pixel.

    Args:
        mask: encoded picture, or shapes as JSON.
        picture: the picture that the mask belongs to; its EXIF orientation is applied to the mask.
        config: what marks a hole, threshold, growth, and what to do about other sizes.

    Raises:
        MaskInvalid: it cannot be decoded, or does not fit the picture.
    """
    check_bytes(mask, config, MaskInvalid, "mask")
    if is_shapes(mask):
        return ~_grown(_shaped(mask, picture, config), config.mask_grow_px)
    return _keep(read_mask_picture(mask, config), picture, config)


def read_keep_masks(mask: bytes, pictures: Sequence[Placed], config: ImagesConfig) -> list[np.ndarray]:
    """Return (H, W) bool over every page as stored, True = known pixel: one mask for all of them, or one of as many pages.

    Raises:
        MaskInvalid: as `read_keep_mask` raises it, or the mask has another number of pages.
    """
    if len(pictures) == 1 or is_shapes(mask):
        return [read_keep_mask(mask, picture, config) for picture in pictures]
    check_bytes(mask, config, MaskInvalid, "mask")
    masks = read_mask_pages(mask, config)
    if len(masks) not in (1, len(pictures)):
        raise MaskInvalid(f"mask: has {len(masks)} pages, and the picture {len(pictures)}; give one for all, or one for each")
    masks = masks * len(pictures) if len(masks) == 1 else masks
    return [_keep(decoded, picture, config) for decoded, picture in zip(masks, pictures, strict=True)]


def _keep(decoded: Picture, picture: Placed, config: ImagesConfig) -> np.ndarray:
    hole = _fitted(upright(marked(decoded, config), decoded.orientation), decoded.orientation != 1, picture, config)
    return ~_grown(hole, config.mask_grow_px)


def _shaped(mask: bytes, picture: Placed, config: ImagesConfig) -> np.ndarray:
    shapes = read_shapes(mask)
    if shapes.size is None:
        return stored(drawn(shapes, picture.upright_size), picture.orientation)
    _check_fits(shapes.size, picture, config)
    return _fitted(drawn(shapes, shapes.size), False, picture, config)


def _check_fits(size: tuple[int, int], picture: Placed, config: ImagesConfig) -> None:
    """Refuse a mask of another size than its picture, before it is drawn."""
    width, height = picture.upright_size
    if size not in (picture.upright_size, picture.size) and not config.mask_resize:
        raise MaskInvalid(
            f"mask: {size[0]}x{size[1]} pixels, the picture is {width}x{height}; "
            "set images.mask_resize to fit masks of another size"
        )
    if size[0] * size[1] > config.max_pixels:
        raise MaskInvalid(f"mask: {size[0]}x{size[1]} pixels, more than the {config.max_pixels} that images.max_pixels allows")


def _fitted(hole: np.ndarray, is_turned: bool, picture: Placed, config: ImagesConfig) -> np.ndarray:
    """Return `hole` over the picture as stored, refused or resized if its size is another.

    Args:
        hole: (h, w) bool.
        is_turned: whether it has been turned upright by an orientation of its own.
        picture: the picture that it belongs to.
        config: what to do about other sizes.
    """
    size = (hole.shape[1], hole.shape[0])
    _check_fits(size, picture, config)
    fits_upright, fits_stored = size == picture.upright_size, size == picture.size
    if not fits_upright and not fits_stored:
        target = picture.upright_size if config.mask_drawn_on == "upright" else picture.size
        hole = np.asarray(Image.fromarray(hole).resize(target, Image.Resampling.NEAREST))
        fits_upright = fits_stored = True
    # Of a size that fits one way only, the mask was drawn that way.
    on_upright = fits_upright and (not fits_stored or config.mask_drawn_on == "upright" or is_turned)
    return stored(hole, picture.orientation) if on_upright else hole


def _grown(hole: np.ndarray, grow_px: int) -> np.ndarray:
    """Return `hole` with a square brush of side 2 `grow_px` + 1 added, or taken away if negative."""
    if grow_px < 0:
        # Beyond the picture's edge nothing is known, so holes do not shrink away from it.
        return ~_grown(~hole, -grow_px)
    return _grown_along_rows(_grown_along_rows(hole, grow_px).T, grow_px).T


def _grown_along_rows(hole: np.ndarray, grow_px: int) -> np.ndarray:
    # Shifts double, so that a wide brush costs its logarithm.
    reached = 0
    while reached < grow_px:
        step = min(reached + 1, grow_px - reached) if reached else 1
        wider = hole.copy()
        wider[:, step:] |= hole[:, :-step]
        wider[:, :-step] |= hole[:, step:]
        hole = wider
        reached += step
    return hole
