"""Small pictures of a row, as many bytes as the page can afford and no more.

Before and after are WebP, the hole is a one-bit PNG. All three have the same size, so that they lie on each other. Where a page
can afford it there is a detail too, before and after: what is around the largest mark of the hole, pixel by pixel, since a
scratch of 6 pixels on 12 megapixels is less than one of the small picture's. All are upright, because thumbnails carry no
orientation tag. What strangers sent is decoded in a child process, see `repaint_batch.apart`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from repaint_batch.apart import Call
from repaint_batch.config import ImagesConfig
from repaint_batch.errors import SampleError
from repaint_batch.images.stops import stops
from repaint_batch.images.viewing import View, view
from repaint_batch.report.embedding import encoded, enlarged

LEAST_PX = 128
"""Longer side below which a picture is enlarged smoothly, so that a 32 px prior's output can be looked at."""

_LADDER = ((512, 82), (384, 80), (256, 76), (192, 72), (160, 66), (128, 60), (112, 50), (96, 40), (64, 30))
"""(longer side in px, WebP quality): the first whose bytes fit is taken."""

_BYTES_PER_PIXEL = 0.07
"""Fewest bytes that a WebP of a photograph takes; sizes beyond it are not tried."""

DETAIL_PX = 256
"""Longer side of a detail."""
_DETAIL_QUALITIES = (90, 80, 65, 50)

_HOLE_COLOUR = (255, 46, 126)


@dataclass(frozen=True)
class Thumbnails:
    """What the page shows of a row; None for what could not be had.

    Attributes:
        before: WebP of the picture as it came.
        after: WebP of the restored one.
        hole: PNG, opaque where pixels were restored.
        detail_before: WebP of a detail of the picture as it came.
        detail_after: WebP of the same detail of the restored one.
    """

    before: bytes | None = None
    after: bytes | None = None
    hole: bytes | None = None
    detail_before: bytes | None = None
    detail_after: bytes | None = None

    @property
    def parts(self) -> tuple[bytes | None, ...]:
        """Before, after, hole, and the detail before and after."""
        return self.before, self.after, self.hole, self.detail_before, self.detail_after


Shrink = Callable[[bytes | None, bytes | None, bytes | None, ImagesConfig, int, int], Thumbnails]
"""What `thumbnails` is, or does the same elsewhere."""


def shrinking(apart: Call) -> Shrink:
    """Return `thumbnails`, called in a child process; there are none of a row whose pictures end that."""

    def shrink(
        source: bytes | None, mask: bytes | None, output: bytes | None, images: ImagesConfig, max_bytes: int, detail_bytes: int
    ) -> Thumbnails:
        try:
            return Thumbnails(*apart(_parts, source, mask, output, images, max_bytes, detail_bytes))
        except SampleError:
            return Thumbnails()

    return shrink


def _parts(*arguments: Any) -> tuple[bytes | None, ...]:
    return thumbnails(*arguments).parts


def thumbnails(
    source: bytes | None,
    mask: bytes | None,
    output: bytes | None,
    images: ImagesConfig,
    max_bytes: int,
    detail_bytes: int = 0,
) -> Thumbnails:
    """Return the thumbnails of one row.

    Args:
        source: the picture as it came, encoded.
        mask: its mask, encoded.
        output: the restored picture, encoded.
        images: polarity and threshold of the mask, caps on what is decoded.
        max_bytes: bytes that the three may take together.
        detail_bytes: bytes that the detail may take, before and after together; 0: there is none, and less is decoded.
    """
    seen = view(source, mask, output, images, None if detail_bytes else 2 * _LADDER[0][0])
    before, after = seen.before, seen.after
    share = max_bytes * 9 // 20
    size = next((picture.size for picture in (before, after) if picture is not None), None)
    if size is None:
        return Thumbnails()
    for side, quality in _LADDER:
        if side * side * _BYTES_PER_PIXEL > share and side > _LADDER[-1][0]:
            continue
        shown = [_fitted(picture, side) for picture in (before, after)]
        data = [None if picture is None else encoded(picture, "WEBP", quality=quality, method=2) for picture in shown]
        if all(part is None or len(part) <= share for part in data):
            fitting = next(picture.size for picture in shown if picture is not None)
            hole = _hole_png(seen.hole, fitting, max_bytes - 2 * share)
            detail = _detail(seen, detail_bytes) if max(size) > max(fitting) else (None, None)
            return Thumbnails(data[0], data[1], hole, *detail)
    return Thumbnails()


def _detail(seen: View, max_bytes: int) -> tuple[bytes | None, bytes | None]:
    """Return the pixels around the largest mark of the hole, before and after; None where there is no room or no hole."""
    marks = [] if seen.hole is None or not max_bytes else stops(seen.hole)
    if not marks or seen.before is None or seen.after is None or seen.before.size != seen.after.size:
        return None, None
    left, top, right, bottom = marks[0]
    left, right = _around(left, right, seen.before.width)
    top, bottom = _around(top, bottom, seen.before.height)
    shown = [picture.crop((left, top, right, bottom)) for picture in (seen.before, seen.after)]
    for quality in _DETAIL_QUALITIES:
        before, after = (encoded(picture, "WEBP", quality=quality, method=2) for picture in shown)
        if len(before) + len(after) <= max_bytes:
            return before, after
    return None, None


def _around(first: int, last: int, end: int) -> tuple[int, int]:
    """Return the `DETAIL_PX` pixels around the middle of a stretch that lie between 0 and `end`."""
    start = max(0, min((first + last - DETAIL_PX) // 2, end - DETAIL_PX))
    return start, min(end, start + DETAIL_PX)


def _fitted(picture: Image.Image | None, side: int) -> Image.Image | None:
    if picture is None:
        return None
    fitted = enlarged(picture, min(LEAST_PX, side)).copy()
    fitted.thumbnail((side, side), Image.Resampling.LANCZOS)
    return fitted


def _hole_png(hole: np.ndarray | None, size: tuple[int, int], max_bytes: int) -> bytes | None:
    """Return a hole, (H, W) bool, True = hole, as a one-bit PNG, at full size or, where its shape is too rich, coarser."""
    if hole is None:
        return None
    shown = Image.fromarray(hole.astype(np.uint8) * 255)
    for divisor in (1, 2, 4, 8):
        small = (math.ceil(size[0] / divisor), math.ceil(size[1] / divisor))
        reducing = shown.width > small[0]
        scaled = shown.resize(small, Image.Resampling.BOX if reducing else Image.Resampling.NEAREST)
        palette = Image.fromarray((np.asarray(scaled) >= 128).astype(np.uint8)).convert("P")
        palette.putpalette([255, 255, 255, *_HOLE_COLOUR])
        data = encoded(palette, "PNG", bits=1, transparency=0, optimize=True)
        if len(data) <= max_bytes:
            return data
    return None
