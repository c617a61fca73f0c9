"""What is to be restored: masks drawn in any tool, or boxes and polygons, to one boolean array.

Masks may have any depth from 1 to 16 bits, a palette or an alpha channel. Instead of a picture the bytes may be JSON in
pixels of the picture as displayed: ``{"boxes": [[left, top, right, bottom], ...], "polygons": [[[x, y], ...], ...]}``.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import MaskInvalid
from repaint_batch.images.codec import Picture, check_bytes, read_mask_pages, read_mask_picture
from repaint_batch.images.orientation import stored, upright

_SHAPE_KEYS = {"boxes", "polygons"}


def read_keep_mask(mask: bytes, picture: Picture, config: ImagesConfig) -> np.ndarray:
    """Return (H, W) bool over the picture as stored, True = known pixel.

    Args:
        mask: encoded picture, or boxes and polygons as JSON.
        picture: the picture that the mask belongs to; its EXIF orientation is applied to the mask.
        config: what marks a hole, threshold, growth, and what to do about other sizes.

    Raises:
        MaskInvalid: it cannot be decoded, or does not fit the picture.
    """
    check_bytes(mask, config, MaskInvalid, "mask")
    if mask.lstrip()[:1] == b"{":
        hole = stored(_drawn(mask, picture.upright_size), picture.orientation)
    else:
        return _keep(read_mask_picture(mask, config), picture, config)
    return ~_grown(hole, config.mask_grow_px)


def _keep(decoded: Picture, picture: Picture, config: ImagesConfig) -> np.ndarray:
    hole = _fitted(upright(_hole(decoded, config), decoded.orientation), decoded, picture, config)
    return ~_grown(hole, config.mask_grow_px)


def read_keep_masks(mask: bytes, pictures: Sequence[Picture], config: ImagesConfig) -> list[np.ndarray]:
    """Return (H, W) bool over every page as stored, True = known pixel: one mask for all of them, or one of as many pages.

    Raises:
        MaskInvalid: as `read_keep_mask` raises it, or the mask has another number of pages.
    """
    if len(pictures) == 1 or mask.lstrip()[:1] == b"{":
        return [read_keep_mask(mask, picture, config) for picture in pictures]
    check_bytes(mask, config, MaskInvalid, "mask")
    masks = read_mask_pages(mask, config)
    if len(masks) not in (1, len(pictures)):
        raise MaskInvalid(f"mask: has {len(masks)} pages, and the picture {len(pictures)}; give one for all, or one for each")
    masks = masks * len(pictures) if len(masks) == 1 else masks
    return [_keep(decoded, picture, config) for decoded, picture in zip(masks, pictures, strict=True)]


def shapes_to_json(boxes: Sequence[Sequence[float]] = (), polygons: Sequence[Sequence[Sequence[float]]] = ()) -> bytes:
    """Return boxes and polygons of a manifest's columns as the bytes of a mask.

    Args:
        boxes: (left, top, right, bottom) each, in pixels of the picture as displayed; right and bottom are outside.
        polygons: three or more (x, y) each; pixels whose centre or edge they touch are inside.
    """
    shapes = {
        "boxes": [[float(value) for value in box] for box in boxes],
        "polygons": [[[float(value) for value in point] for point in polygon] for polygon in polygons],
    }
    return json.dumps(shapes).encode()


def _hole(mask: Picture, config: ImagesConfig) -> np.ndarray:
    """Return (h, w) bool over the mask as stored, True = restore."""
    if mask.layout.top is None:
        raise MaskInvalid(f"mask: pixels of mode {mask.mode} have no white; store it with 1, 8 or 16 bits a sample")
    whole = (0, 0, *mask.size)
    if config.hole.startswith("#"):
        wanted = [int(config.hole[at : at + 2], 16) for at in (1, 3, 5)]
        return np.asarray((np.asarray(mask.image.convert("RGB")) == wanted).all(axis=2))
    if config.hole in ("transparent", "opaque"):
        if not mask.image.has_transparency_data and mask.mode != "LA;16":
            raise MaskInvalid(f"mask: mode {mask.mode} has no alpha channel, and images.hole is {config.hole}")
        alpha = mask.crop(whole)[..., -1] if mask.mode == "LA;16" else np.asarray(mask.image.convert("RGBA"))[..., 3]
        full = 65535 if mask.mode == "LA;16" else 255
        opaque = alpha >= config.mask_threshold * full
        return np.asarray(opaque if config.hole == "opaque" else ~opaque)
    return _shaded(mask, config)


def _shaded(mask: Picture, config: ImagesConfig) -> np.ndarray:
    whole = (0, 0, *mask.size)
    if mask.mode == "1":
        white = mask.crop(whole)
    elif mask.mode == "I;16":
        white = mask.crop(whole) >= math.ceil(config.mask_threshold * 65535)
    elif mask.mode == "L" and "transparency" not in mask.image.info:
        white = np.asarray(mask.image) >= math.ceil(config.mask_threshold * 255)
    else:
        if mask.mode == "LA;16":
            samples = mask.crop(whole) >> 8
            grey = Image.merge("LA", [Image.fromarray(samples[..., i].astype(np.uint8)) for i in (0, 1)])
        else:
            grey = mask.image
        if grey.has_transparency_data:
            # A brush on a transparent layer: what was not painted is known.
            ground = Image.new("RGBA", grey.size, "black" if config.hole == "white" else "white")
            grey = Image.alpha_composite(ground, grey.convert("RGBA"))
        white = np.asarray(grey.convert("RGB").convert("L")) >= config.mask_threshold * 255
    return np.asarray(white if config.hole == "white" else ~white)


def _fitted(hole: np.ndarray, mask: Picture, picture: Picture, config: ImagesConfig) -> np.ndarray:
    """Return `hole` over the picture as stored, refused or resized if its size is another."""
    size = (hole.shape[1], hole.shape[0])
    fits_upright, fits_stored = size == picture.upright_size, size == picture.size
    if not fits_upright and not fits_stored:
        if not config.mask_resize:
            width, height = picture.upright_size
            raise MaskInvalid(
                f"mask: {size[0]}x{size[1]} pixels, the picture is {width}x{height}; "
                "set images.mask_resize to fit masks of another size"
            )
        target = picture.upright_size if config.mask_drawn_on == "upright" else picture.size
        hole = np.asarray(Image.fromarray(hole).resize(target, Image.Resampling.NEAREST))
        fits_upright = fits_stored = True
    # A mask that carries an orientation of its own has been turned upright by it. Of a size that fits one way only,
    # the mask was drawn that way.
    on_upright = fits_upright and (not fits_stored or config.mask_drawn_on == "upright" or mask.orientation != 1)
    return stored(hole, picture.orientation) if on_upright else hole


def _drawn(mask: bytes, size: tuple[int, int]) -> np.ndarray:
    try:
        shapes = json.loads(mask)
        unknown = set(shapes) - _SHAPE_KEYS
        if unknown:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r:.80}; known: {', '.join(sorted(_SHAPE_KEYS))}")
        boxes = [_numbers(box, 4) for box in shapes.get("boxes", [])]
        polygons = [[_numbers(point, 2) for point in polygon] for polygon in shapes.get("polygons", [])]
    except (ValueError, TypeError, RecursionError) as error:
        raise MaskInvalid(f"mask: shapes cannot be read ({error}); boxes are [left, top, right, bottom]") from error
    canvas = Image.new("1", size)
    hole = np.zeros((size[1], size[0]), dtype=bool)
    for left, top, right, bottom in boxes:
        if right <= left or bottom <= top:
            raise MaskInvalid(f"mask: box {[left, top, right, bottom]} is empty; right and bottom must be larger")
        rows = slice(max(math.floor(top), 0), max(math.ceil(bottom), 0))
        hole[rows, max(math.floor(left), 0) : max(math.ceil(right), 0)] = True
    for polygon in polygons:
        if len(polygon) < 3:
            raise MaskInvalid(f"mask: a polygon of {len(polygon)} points; it needs three")
        ImageDraw.Draw(canvas).polygon([(x, y) for x, y in polygon], fill=1, outline=1)
    return np.asarray(hole | np.asarray(canvas))


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(abs(value) < 1e9 for value in numbers):
        raise ValueError(f"expected {count} numbers, got {values!r:.80}")
    return numbers


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
