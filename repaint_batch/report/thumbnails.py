"""Small pictures of a row, as many bytes as the page can afford and no more.

Before and after are WebP, the hole is a one-bit PNG. All three have the same size, so that they lie on each other. They are
upright, because thumbnails carry no orientation tag. What strangers sent is decoded in a child process, see
`repaint_batch.apart`.
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
from repaint_batch.images.viewing import view
from repaint_batch.report.pictures import encoded, enlarged

LEAST_PX = 128
"""Longer side below which a picture is enlarged smoothly, so that a 32 px prior's output can be looked at."""

_LADDER = ((512, 82), (384, 80), (256, 76), (192, 72), (160, 66), (128, 60), (112, 50), (96, 40), (64, 30))
"""(longer side in px, WebP quality): the first whose bytes fit is taken."""

_BYTES_PER_PIXEL = 0.07
"""Fewest bytes that a WebP of a photograph takes; sizes beyond it are not tried."""

_HOLE_COLOUR = (255, 46, 126)


@dataclass(frozen=True)
class Thumbnails:
    """What the page shows of a row; None for what could not be had.

    Attributes:
        before: WebP of the picture as it came.
        after: WebP of the restored one.
        hole: PNG, opaque where pixels were restored.
    """

    before: bytes | None
    after: bytes | None
    hole: bytes | None

    @property
    def parts(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Before, after and hole."""
        return self.before, self.after, self.hole


Shrink = Callable[[bytes | None, bytes | None, bytes | None, ImagesConfig, int], Thumbnails]
"""What `thumbnails` is, or does the same elsewhere."""


def shrinking(apart: Call) -> Shrink:
    """Return `thumbnails`, called in a child process; there are none of a row whose pictures end that."""

    def shrink(
        source: bytes | None, mask: bytes | None, output: bytes | None, images: ImagesConfig, max_bytes: int
    ) -> Thumbnails:
        try:
            return Thumbnails(*apart(_parts, source, mask, output, images, max_bytes))
        except SampleError:
            return Thumbnails(None, None, None)

    return shrink


def _parts(*arguments: Any) -> tuple[bytes | None, ...]:
    return thumbnails(*arguments).parts


def thumbnails(
    source: bytes | None, mask: bytes | None, output: bytes | None, images: ImagesConfig, max_bytes: int
) -> Thumbnails:
    """Return the thumbnails of one row.

    Args:
        source: the picture as it came, encoded.
        mask: its mask, encoded.
        output: the restored picture, encoded.
        images: polarity and threshold of the mask, caps on what is decoded.
        max_bytes: bytes that the three may take together.
    """
    seen = view(source, mask, output, images, 2 * _LADDER[0][0])
    before, after = seen.before, seen.after
    share = max_bytes * 9 // 20
    size = next((picture.size for picture in (before, after) if picture is not None), None)
    if size is None:
        return Thumbnails(None, None, None)
    for side, quality in _LADDER:
        if side * side * _BYTES_PER_PIXEL > share and side > _LADDER[-1][0]:
            continue
        shown = [_fitted(picture, side) for picture in (before, after)]
        data = [None if picture is None else encoded(picture, "WEBP", quality=quality, method=2) for picture in shown]
        if all(part is None or len(part) <= share for part in data):
            fitting = next(picture.size for picture in shown if picture is not None)
            return Thumbnails(data[0], data[1], _hole_png(seen.hole, fitting, max_bytes - 2 * share))
    return Thumbnails(None, None, None)


def _fitted(picture: Image.Image | None, side: int) -> Image.Image | None:
    if picture is None:
        return None
    fitted = enlarged(picture, min(LEAST_PX, side)).copy()
    fitted.thumbnail((side, side), Image.Resampling.LANCZOS)
    return fitted


def _hole_png(mask: np.ndarray | None, size: tuple[int, int], max_bytes: int) -> bytes | None:
    """Return the hole, (H, W) bool, as a one-bit PNG, at full size or, where its shape is too rich, coarser."""
    if mask is None:
        return None
    hole = Image.fromarray(mask.astype(np.uint8) * 255)
    for divisor in (1, 2, 4, 8):
        small = (math.ceil(size[0] / divisor), math.ceil(size[1] / divisor))
        reducing = hole.width > small[0]
        scaled = hole.resize(small, Image.Resampling.BOX if reducing else Image.Resampling.NEAREST)
        palette = Image.fromarray((np.asarray(scaled) >= 128).astype(np.uint8)).convert("P")
        palette.putpalette([255, 255, 255, *_HOLE_COLOUR])
        data = encoded(palette, "PNG", bits=1, transparency=0, optimize=True)
        if len(data) <= max_bytes:
            return data
    return None
