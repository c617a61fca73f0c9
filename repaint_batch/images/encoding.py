"""Pixels back to a file: the owner's format with everything that stood beside the pixels, or another on request."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image, TiffImagePlugin

from repaint_batch.config import OutputFormat
from repaint_batch.errors import ImageInvalid
from repaint_batch.images import jpeg, png, tiff
from repaint_batch.images.codec import Box, Picture
from repaint_batch.images.exif import without_thumbnail

_PNG_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "LA;16", "RGB;16", "RGBA;16")
_WEBP_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_JPEG_MODES = ("1", "L", "P", "RGB", "CMYK")
_LARGEST_PX = {"WEBP": 16383, "JPEG": 65500}
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_INCH_M = 0.0254


def target_format(picture: Picture, output_format: OutputFormat) -> str:
    """Return Pillow's name of the format in which `picture` will be written.

    Raises:
        ImageInvalid: that format cannot hold the picture's pixels unchanged.
    """
    named = {"source": picture.format, "png": "PNG", "webp-lossless": "WEBP", "jpeg": "JPEG"}[output_format]
    if named == picture.format:
        return named
    modes = {"PNG": _PNG_MODES, "WEBP": _WEBP_MODES, "JPEG": _JPEG_MODES}[named]
    if picture.mode not in modes or (named == "JPEG" and picture.image.has_transparency_data):
        raise ImageInvalid(
            f"picture: {picture.mode} pixels of a {picture.format} cannot be kept in {output_format}; "
            "set output.format to source"
        )
    if max(picture.size) > _LARGEST_PX.get(named, 2**31):
        raise ImageInvalid(f"picture: {picture.size[0]}x{picture.size[1]} is too large for {output_format}")
    return named


def is_lossless(format: str) -> bool:
    """Return whether pixels come back from a file of this format as they went in."""
    return format != "JPEG"


def encode(
    picture: Picture, output_format: OutputFormat, restored: Sequence[tuple[Box, np.ndarray]] = ()
) -> tuple[bytes, str]:
    """Return `picture` as a file and Pillow's name of its format.

    Args:
        picture: what was read, changed where it was restored.
        output_format: the format asked for.
        restored: boxes, and (h, w) bool in each, True where pixels have been changed.

    Raises:
        ImageInvalid: the format cannot hold the picture.
    """
    named = target_format(picture, output_format)
    writers: dict[str, Callable[[Picture], bytes]] = {
        "PNG": _png,
        "JPEG": partial(_jpeg, restored=restored),
        "WEBP": _webp,
        "TIFF": tiff.encode_like,
        "BMP": _bmp,
        "GIF": _gif,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which is kept as it is
            return writers[named](picture), named
    except (OSError, ValueError, struct.error) as error:
        raise ImageInvalid(f"picture: cannot be written as {named} ({error})") from error


def _png(picture: Picture) -> bytes:
    if picture.format == "PNG":
        return png.with_pixels_of(picture.data, _png_pixels(picture, png.layout(picture.data)))
    encoded = _png_pixels(picture, None)
    end = png.HEADER_END
    return b"".join([encoded[:end], *_png_metadata(picture), encoded[end:]])


def _png_pixels(picture: Picture, layout: tuple[int, int] | None) -> bytes:
    """Return a PNG file of the pixels alone, in the source's layout of bits where there is one."""
    whole = (0, 0, *picture.size)
    if picture.mode.endswith(";16") and picture.mode != "I;16":
        return png.encode(picture.crop(whole), picture.mode, 16)
    image = picture.image.convert("RGBA") if picture.mode == "PA" else picture.image
    buffer = io.BytesIO()
    bare = Image.Image()._new(image.im)
    if "transparency" in image.info and layout is None:
        bare.info["transparency"] = image.info["transparency"]
    if image.mode == "P":
        bare.palette = image.palette
    bare.save(buffer, "PNG", **({"bits": 8} if image.mode == "P" else {}))
    encoded = buffer.getvalue()
    if layout in (None, png.layout(encoded)):
        return encoded
    return png.encode(picture.crop(whole), picture.mode, picture.depth)


def _png_metadata(picture: Picture) -> list[bytes]:
    info = picture.image.info
    parts = []
    if info.get("icc_profile"):
        parts.append(png.chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(info["icc_profile"])))
    if "dpi" in info:
        x, y = (round(float(value) / _INCH_M) for value in info["dpi"])
        parts.append(png.chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    exif = _exif(picture)
    if exif:
        parts.append(png.chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if info.get("xmp"):
        parts.append(png.chunk(b"iTXt", _XMP_KEYWORD + b"\0\0\0\0\0" + _bytes(info["xmp"])))
    return parts


def _jpeg(picture: Picture, restored: Sequence[tuple[Box, np.ndarray]]) -> bytes:
    if picture.format == "JPEG":
        return jpeg.encode_like(picture.image, picture.data, restored)
    image = picture.image
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return _saved(image, "JPEG", quality=95, subsampling=0, **_metadata(picture))


def _webp(picture: Picture) -> bytes:
    # Lossless even if the source was not: WebP has no way to encode what was decoded to the same pixels again.
    image = picture.image
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    metadata = _metadata(picture)
    metadata.pop("dpi", None)
    return _saved(image, "WEBP", lossless=True, exact=True, **metadata)


def _bmp(picture: Picture) -> bytes:
    return _saved(picture.image, "BMP", **({"dpi": picture.image.info["dpi"]} if "dpi" in picture.image.info else {}))


def _gif(picture: Picture) -> bytes:
    return _saved(picture.image, "GIF", optimize=False)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _metadata(picture: Picture) -> dict[str, object]:
    info = picture.image.info
    found = {"exif": _exif(picture), "icc_profile": info.get("icc_profile"), "dpi": info.get("dpi")}
    if info.get("xmp"):
        found["xmp"] = _bytes(info["xmp"])
    return {key: value for key, value in found.items() if value}


def _exif(picture: Picture) -> bytes:
    if picture.format != "TIFF":
        return without_thumbnail(_bytes(picture.image.info.get("exif", b"")))
    directory: TiffImagePlugin.ImageFileDirectory_v2 = picture.image.tag_v2  # type: ignore[attr-defined]
    exif = Image.Exif()
    for tag in directory:
        if tag not in tiff.NOT_METADATA:
            exif[tag] = directory[tag]
    return exif.tobytes() if len(exif) else b""


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
