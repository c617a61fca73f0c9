"""JPEG files as lists of segments: a picture is encoded anew, what its owner wrote beside the pixels stays as it is.

Source: ITU-T T.81, annex B.
"""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, JpegImagePlugin

from repaint_batch.images.exif import MARK, without_thumbnail

Box = tuple[int, int, int, int]

_SOI = b"\xff\xd8"
_APP0, _APP2, _APP14, _APP15, _COM, _SOS = 0xE0, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA
_ADOBE = b"Adobe"
_MULTI_PICTURE = b"MPF\0"
_HALVED = 2
"""Pillow's number for 4:2:0."""


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of every segment before the first scan; the start is that of the 0xFF."""
    at = len(_SOI)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _SOS:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            return
        yield marker, at, end
        at = end


def _is_owners(data: bytes, marker: int, start: int) -> bool:
    """Return whether a segment is metadata of the picture rather than a fact of its encoding.

    Adobe's segment tells how colours are encoded, which the encoder decides; the multi-picture index holds offsets of
    further pictures in the file, which are not written.
    """
    if marker == _COM:
        return True
    content = data[start + 4 : start + 9]
    if marker == _APP14 and content == _ADOBE:
        return False
    if marker == _APP2 and content.startswith(_MULTI_PICTURE):
        return False
    return _APP0 <= marker <= _APP15


def is_luma_chroma(image: Image.Image) -> bool:
    """Return whether a colour JPEG, opened and not yet loaded, stores luma and chroma and not RGB."""
    if image.mode != "RGB":
        return False
    if "jfif" in image.info:
        return True
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 1)
    return bytes(layer[0] for layer in image.layer) != b"RGB"  # type: ignore[attr-defined]


def encode_like(image: Image.Image, source: bytes, restored: Sequence[tuple[Box, np.ndarray]] = ()) -> bytes:
    """Return `image` as JPEG with the quantisation, subsampling, scan order and metadata of the file it came from.

    Args:
        image: picture opened by Pillow from `source`, best as luma and chroma; its pixels may have been changed since.
        source: the file.
        restored: boxes, and (h, w) bool in each, True where pixels have been changed.
    """
    sampling = JpegImagePlugin.get_sampling(image)  # type: ignore[no-untyped-call,unused-ignore]
    pixels = _with_stored_chroma(image, source, restored) if image.mode == "YCbCr" and sampling == _HALVED else image
    buffer = io.BytesIO()
    pixels.save(
        buffer,
        "JPEG",
        qtables=image.quantization,  # type: ignore[attr-defined]
        # Subsamplings that Pillow cannot write become none, which loses nothing.
        subsampling=sampling if sampling >= 0 else 0,
        progressive=bool(image.info.get("progressive")),
        keep_rgb=image.mode == "RGB" and not is_luma_chroma(image),
        exif=b"",
        icc_profile=None,
    )
    return with_metadata_of(source, buffer.getvalue())


def _with_stored_chroma(image: Image.Image, source: bytes, restored: Sequence[tuple[Box, np.ndarray]]) -> Image.Image:
    """Return `image` with the chroma that the file stores, each sample repeated over the 2x2 pixels that share it.

    Decoders smooth chroma as they enlarge it, and an encoder that averages it again stores something else: every block
    would change. At half scale libjpeg hands out luma halved and chroma as it stands in the file. Repeated, it averages
    to itself, and blocks that nothing was restored in are encoded as they were, but for rounding at fine quantisation.
    """
    halved = Image.open(io.BytesIO(source), formats=["JPEG"])
    width, height = halved.size
    halved.draft("YCbCr", (max(width // 2, 1), max(height // 2, 1)))
    if halved.size != (-(-width // 2), -(-height // 2)):
        return image
    stored = (halved.getchannel(band) for band in (1, 2))
    box = (0, 0, width / 2, height / 2)
    chroma = [band.resize(image.size, Image.Resampling.NEAREST, box=box) for band in stored]
    pixels = Image.merge("YCbCr", [image.getchannel(0), *chroma])
    for part, hole in restored:
        pixels.paste(image.crop(part), part, Image.fromarray(hole))
    return pixels


def with_metadata_of(source: bytes, encoded: bytes) -> bytes:
    """Return the JPEG file `encoded` with the metadata segments of `source` in place of its own, but no thumbnail."""
    parts = [_SOI]
    for marker, start, end in segments(source):
        if _is_owners(source, marker, start):
            head, content = source[start : start + 4], source[start + 4 : end]
            parts += [head, without_thumbnail(content) if content.startswith(MARK) else content]
    at = len(_SOI)
    for marker, start, end in segments(encoded):
        if not _is_owners(encoded, marker, start):
            parts.append(encoded[start:end])
        at = end
    return b"".join([*parts, encoded[at:]])
