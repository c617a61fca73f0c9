"""Pictures made ready for a page: read, shrunk or enlarged, encoded again, put into a data URI.

Every picture on a page has been decoded and encoded here, so that nothing but pixels reaches the browser.
"""

import base64
import io
import math

from PIL import Image

MAX_PIXELS = 200_000_000
"""Largest picture that is decoded for a page."""


def read_rgba(data: bytes) -> Image.Image:
    """Return a picture of this package's making as RGBA; what strangers sent is read by `repaint_batch.images` alone.

    Raises:
        OSError: the bytes are no picture.
        ValueError: it is larger than MAX_PIXELS.
    """
    picture = Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"])
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} px is more than {MAX_PIXELS:,} pixels")
    return picture.convert("RGBA")


def enlarged(picture: Image.Image, least_px: int) -> Image.Image:
    """Return `picture` enlarged by the least whole factor that makes its longer side `least_px`, smoothly.

    Colour is interpolated (bicubic), so that a 32 px picture looks like a small photograph and not like a mosaic; the
    transparency channel keeps its pixel edges, because a hole has sharp ones.
    """
    factor = max(1, math.ceil(least_px / max(picture.size)))
    if factor == 1:
        return picture
    size = (picture.width * factor, picture.height * factor)
    colour = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    if picture.mode == "RGBA":
        colour.putalpha(picture.getchannel("A").resize(size, Image.Resampling.NEAREST))
    return colour


def encoded(picture: Image.Image, image_format: str = "PNG", **options: int | bool) -> bytes:
    """Return `picture` as bytes of the given Pillow format."""
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


def data_uri(data: bytes, media_type: str) -> str:
    """Return `data` as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
