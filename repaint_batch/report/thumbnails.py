"""Small pictures of a row, as many bytes as the page can afford and no more.

Before and after are WebP, the hole is a one-bit PNG. All three have the same size, so that they lie on each other.
Orientation tags are applied here, because thumbnails carry none.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from repaint_batch.config import ImagesConfig
from repaint_batch.report.pictures import encoded, enlarged

LEAST_PX = 128
"""Longer side below which a picture is enlarged smoothly, so that a 32 px prior's output can be looked at."""

_LADDER = ((512, 82), (384, 80), (256, 76), (192, 72), (160, 66), (128, 60), (112, 50), (96, 40), (64, 30))
"""(longer side in px, WebP quality): the first whose bytes fit is taken."""

_BYTES_PER_PIXEL = 0.07
"""Fewest bytes that a WebP of a photograph takes; sizes beyond it are not tried."""

_HOLE_COLOUR = (255, 46, 126)
_ORIENTATION = 0x0112


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
    before, turned = _open(source, images)
    after, _ = _open(output, images)
    hole = _hole(mask, turned, images)
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
            return Thumbnails(data[0], data[1], _hole_png(hole, fitting, max_bytes - 2 * share))
    return Thumbnails(None, None, None)


def _open(data: bytes | None, images: ImagesConfig) -> tuple[Image.Image | None, int]:
    """Return (RGB picture, orientation tag); (None, 1) of bytes that are no picture: a report shows what it can."""
    if data is None:
        return None, 1
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.width * picture.height > images.max_pixels:
            return None, 1
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
        # A JPEG is decoded at an eighth, a quarter or half of its size where that is enough: ten times faster.
        picture.draft("RGB", (2 * _LADDER[0][0], 2 * _LADDER[0][0]))
        return ImageOps.exif_transpose(_rgb(picture)), orientation
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, Image.DecompressionBombError):
        return None, 1


def _rgb(picture: Image.Image) -> Image.Image:
    exif = picture.getexif()
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if picture.mode.startswith("I") else max(1.0, float(values.max(initial=0)))
        picture = Image.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    rgb = picture.convert("RGB")
    if _ORIENTATION in exif:
        rgb.getexif()[_ORIENTATION] = exif[_ORIENTATION]
    return rgb


def _hole(mask: bytes | None, orientation: int, images: ImagesConfig) -> Image.Image | None:
    """Return the hole as an L picture, 255 = restored, turned as the picture it belongs to."""
    if mask is None:
        return None
    try:
        grey = Image.open(io.BytesIO(mask))
        if grey.width * grey.height > images.max_pixels:
            return None
        white = np.asarray(grey.convert("L")) >= 255 * images.mask_threshold
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return None
    hole = white if images.hole == "white" else ~white
    picture = Image.fromarray(hole.astype(np.uint8) * 255)
    picture.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(picture)


def _fitted(picture: Image.Image | None, side: int) -> Image.Image | None:
    if picture is None:
        return None
    fitted = enlarged(picture, min(LEAST_PX, side)).copy()
    fitted.thumbnail((side, side), Image.Resampling.LANCZOS)
    return fitted


def _hole_png(hole: Image.Image | None, size: tuple[int, int], max_bytes: int) -> bytes | None:
    """Return the hole as a one-bit PNG, at full size or, where its shape is too rich, coarser."""
    if hole is None:
        return None
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
