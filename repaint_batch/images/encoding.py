"""Pixels back to a file: the owner's format with everything that stood beside the pixels, or another on request."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from repaint_batch.config import OutputFormat
from repaint_batch.errors import ImageInvalid
from repaint_batch.images import bmp, gif, jpeg, png, tiff, webp
from repaint_batch.images.box import Box
from repaint_batch.images.conversion import Carried, carried
from repaint_batch.images.formats import FORMATS
from repaint_batch.images.picture import Picture

_PNG_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16")
_WEBP_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_JPEG_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr")
_LARGEST_PX = {"WEBP": 16383, "JPEG": 65500}
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_INCH_M = 0.0254

Restored = Sequence[tuple[Box, np.ndarray]]
"""Boxes, and (h, w) bool in each, True where pixels have been changed."""


@dataclass(frozen=True)
class Encoded:
    """A file.

    Attributes:
        data: its bytes.
        format: Pillow's name of its format.
        dropped: names of what the source held beside its pixels and this file does not.
    """

    data: bytes
    format: str
    dropped: tuple[str, ...] = ()


def target_format(picture: Picture, output_format: OutputFormat, pages: int = 1) -> str:
    """Return Pillow's name of the format in which `picture`, one of `pages` in its file, will be written.

    Raises:
        ImageInvalid: that format cannot hold the picture's pixels unchanged.
    """
    named = {"source": picture.format, "png": "PNG", "webp-lossless": "WEBP", "jpeg": "JPEG"}[output_format]
    if named == picture.format:
        return named
    modes = {"PNG": _PNG_MODES, "WEBP": _WEBP_MODES, "JPEG": _JPEG_MODES}[named]
    is_whole = picture.layout.top in (255, 65535) and (picture.depth in (1, 8, 16) or picture.format == "PNG")
    shown = picture.mode in modes and is_whole and not picture.palette_is_rounded
    if not shown or (named == "JPEG" and picture.image.has_transparency_data) or pages > 1:
        several = " of several pages" if pages > 1 else ""
        raise ImageInvalid(
            f"picture: {picture.mode} pixels of a {picture.format}{several} cannot be kept in {output_format}; "
            "set output.format to source"
        )
    if max(picture.size) > _LARGEST_PX.get(named, 2**31):
        raise ImageInvalid(f"picture: {picture.size[0]}x{picture.size[1]} is too large for {output_format}")
    return named


def is_lossless(format: str) -> bool:
    """Return whether pixels come back from a file of this format as they went in."""
    return FORMATS[format].lossless


def encode(
    picture: Picture, output_format: OutputFormat, restored: Restored = (), further: Sequence[tuple[Picture, Restored]] = ()
) -> Encoded:
    """Return `picture` as a file.

    Args:
        picture: what was read, changed where it was restored.
        output_format: the format asked for.
        restored: boxes, and (h, w) bool in each, True where pixels have been changed.
        further: more pages of the same file, likewise.

    Raises:
        ImageInvalid: the format cannot hold the picture.
    """
    named = target_format(picture, output_format, 1 + len(further))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which is kept as it is
            if named == picture.format:
                data, dropped = _like(named, [(picture, restored), *further])
            else:
                beside = carried(picture)
                picture.turn_positive()
                data, dropped = _CONVERTERS[named](picture, beside), beside.dropped
            return Encoded(data, named, tuple(dict.fromkeys(dropped)))
    except (OSError, ValueError, TypeError, LookupError, StopIteration, struct.error) as error:
        # What stands beside the pixels may be damaged where no decoder of pixels looks.
        raise ImageInvalid(f"picture: cannot be written as {named} ({type(error).__name__}: {error})") from error


def _like(named: str, pages: Sequence[tuple[Picture, Restored]]) -> tuple[bytes, list[str]]:
    picture, restored = pages[0]
    if named == "TIFF":
        return tiff.encode_like([(page, [box for box, _ in changed]) for page, changed in pages])
    if named == "PNG":
        return png.with_pixels_of(picture.data, _png_pixels(picture, png.layout(picture.data)))
    if named == "JPEG":
        return jpeg.encode_like(picture.image, picture.data, restored)
    if named == "WEBP":
        # Lossless even if the source was not: WebP has no way to encode what was decoded to the same pixels again.
        return webp.with_pixels_of(picture.data, _webp_pixels(picture))
    if named == "BMP":
        return bmp.encode_like(picture)
    if named == "GIF":
        return gif.with_pixels_of(picture.data, _gif_pixels(picture, restored))
    return FORMATS[named].reader().encode_like(picture)  # type: ignore[no-any-return]


def _gif_pixels(picture: Picture, restored: Restored) -> bytes:
    """Return a GIF of the part of the screen that the file's picture covers. Raises ValueError: more has been restored."""
    frame = gif.frame_of(picture.data)
    if any(box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3] for box, _ in restored):
        raise ValueError("the hole reaches beyond the part of the screen that the file's picture covers")
    bare = _bare(picture).crop(frame)
    bare.palette = picture.image.palette
    return _saved(bare, "GIF", optimize=False, interlace=0)


def _bare(picture: Picture) -> Image.Image:
    """Return the pixels and the palette alone."""
    image = picture.image
    bare = Image.Image()._new(image.im)
    if image.mode == "P":
        bare.palette = image.palette
    return bare


def _png_pixels(picture: Picture, layout: tuple[int, int] | None) -> bytes:
    """Return a PNG file of the pixels alone, in the source's layout of bits where there is one."""
    if picture.depth == 16:
        return png.encode(picture.whole(), picture.mode, 16)
    image = picture.image.convert("RGBA") if picture.mode == "PA" else picture.image
    bare = _bare(picture) if image is picture.image else image
    if layout is None and isinstance(image.info.get("transparency"), bytes | int | tuple):
        bare.info["transparency"] = image.info["transparency"]
    encoded = _saved(bare, "PNG", **({"bits": 8} if image.mode == "P" else {}))
    if layout in (None, png.layout(encoded)):
        return encoded
    return png.encode(picture.whole(), picture.mode, picture.depth)


def _png(picture: Picture, beside: Carried) -> bytes:
    encoded = _png_pixels(picture, None)
    parts = []
    if beside.icc:
        parts.append(png.chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(beside.icc)))
    if beside.dpi:
        x, y = (round(float(value) / _INCH_M) for value in beside.dpi)
        parts.append(png.chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if beside.exif:
        parts.append(png.chunk(b"eXIf", beside.exif.removeprefix(b"Exif\0\0")))
    if beside.xmp:
        parts.append(png.chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + beside.xmp))
    end = png.HEADER_END
    return b"".join([encoded[:end], *parts, encoded[end:]])


def _jpeg(picture: Picture, beside: Carried) -> bytes:
    image = picture.image
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return _saved(image, "JPEG", quality=95, subsampling=0, **beside.options())


def _webp(picture: Picture, beside: Carried) -> bytes:
    options = beside.options()
    options.pop("dpi", None)
    return _webp_pixels(picture, **options)


def _webp_pixels(picture: Picture, **options: object) -> bytes:
    image = picture.image
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    bare = Image.Image()._new(image.im)
    return _saved(bare, "WEBP", lossless=True, exact=True, **options)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


_CONVERTERS: dict[str, Callable[[Picture, Carried], bytes]] = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}
