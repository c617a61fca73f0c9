"""JPEG files as lists of segments: a picture is encoded anew, what its owner wrote beside the pixels stays as it is.

Source: ITU-T T.81, annex B.
"""

import io
from collections.abc import Iterator

from PIL import Image, JpegImagePlugin

_SOI = b"\xff\xd8"
_APP0, _APP2, _APP14, _APP15, _COM, _SOS = 0xE0, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA
_ADOBE = b"Adobe"
_MULTI_PICTURE = b"MPF\0"


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


def encode_like(image: Image.Image, source: bytes) -> bytes:
    """Return `image` as JPEG with the quantisation, subsampling, scan order and metadata of the file it came from.

    Args:
        image: picture opened by Pillow from `source`; its pixels may have been changed since.
        source: the file.
    """
    buffer = io.BytesIO()
    sampling = JpegImagePlugin.get_sampling(image)  # type: ignore[no-untyped-call,unused-ignore]
    image.save(
        buffer,
        "JPEG",
        qtables=image.quantization,  # type: ignore[attr-defined]
        # Subsamplings that Pillow cannot write become none, which loses nothing.
        subsampling=sampling if sampling >= 0 else 0,
        progressive=bool(image.info.get("progressive")),
        keep_rgb=image.mode == "RGB" and image.info.get("adobe_transform") == 0,
        exif=b"",
        icc_profile=None,
    )
    return with_metadata_of(source, buffer.getvalue())


def with_metadata_of(source: bytes, encoded: bytes) -> bytes:
    """Return the JPEG file `encoded` with the metadata segments of `source` in place of its own."""
    parts = [_SOI]
    parts += [source[start:end] for marker, start, end in segments(source) if _is_owners(source, marker, start)]
    at = len(_SOI)
    for marker, start, end in segments(encoded):
        if not _is_owners(encoded, marker, start):
            parts.append(encoded[start:end])
        at = end
    return b"".join([*parts, encoded[at:]])
