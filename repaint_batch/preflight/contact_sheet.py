"""Random pairs on one sheet, the hole tinted: a person sees in seconds what no check knows to look for."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from repaint_batch.images.codec import Picture
from repaint_batch.images.orientation import upright

_SIDE_PX = 192
_GAP_PX = 8
_CAPTION_PX = 16
_TINT = (255, 46, 126)
_TINT_SHARE = 0.6
_GROUND = (24, 24, 27)
_INK = (228, 228, 231)
_GLYPH_PX = 6  # width of Pillow's own font, about


def thumbnail(picture: Picture, keep_mask: np.ndarray) -> bytes:
    """Return a PNG of at most 192 px a side: the picture as displayed, its hole tinted.

    Args:
        picture: decoded.
        keep_mask: (H, W) bool over the picture as stored, True = known pixel.
    """
    factor = min(1.0, _SIDE_PX / max(picture.size))
    size = (max(1, round(picture.size[0] * factor)), max(1, round(picture.size[1] * factor)))
    rgb = np.asarray(_rgb(picture.image, size), dtype=np.float32)
    # Of a scratch one pixel wide a share is left; any of it shows.
    hole = np.asarray(Image.fromarray((~keep_mask).astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0
    rgb = np.where(hole[..., None], (1 - _TINT_SHARE) * rgb + _TINT_SHARE * np.array(_TINT, np.float32), rgb)
    return _png(Image.fromarray(upright(rgb.round().astype(np.uint8), picture.orientation)))


def contact_sheet(thumbnails: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a PNG of (sample_id, PNG) pairs in a grid that is about square, captions below."""
    columns = max(1, round(len(thumbnails) ** 0.5))
    lines = max(1, -(-len(thumbnails) // columns))
    cell_width, cell_height = _SIDE_PX + _GAP_PX, _SIDE_PX + _GAP_PX + _CAPTION_PX
    sheet = Image.new("RGB", (columns * cell_width + _GAP_PX, lines * cell_height + _GAP_PX), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (sample_id, data) in enumerate(thumbnails):
        left, top = _GAP_PX + number % columns * cell_width, _GAP_PX + number // columns * cell_height
        with Image.open(io.BytesIO(data), formats=["PNG"]) as cell:
            sheet.paste(cell, (left + (_SIDE_PX - cell.width) // 2, top + (_SIDE_PX - cell.height) // 2))
        draw.text((left, top + _SIDE_PX + 2), _caption(sample_id), fill=_INK)
    return _png(sheet)


def _caption(sample_id: str) -> str:
    # The end of a path tells more than its beginning; control characters would start new lines.
    text = "".join(letter if letter.isprintable() else "?" for letter in sample_id)
    most = _SIDE_PX // _GLYPH_PX
    return text if len(text) <= most else "..." + text[3 - most :]


def _rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        # Only 16 bits have a white of their own.
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (float(values.min()), float(values.max()))
        scaled = (values - low) / max(high - low, 1e-6) * 255
        return Image.fromarray(scaled.astype(np.uint8)).resize(size, Image.Resampling.BOX).convert("RGB")
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _GROUND), image)
    if image.mode == "1":
        image = image.convert("L")
    return image.resize(size, Image.Resampling.BOX).convert("RGB")


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
