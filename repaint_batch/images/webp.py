"""WebP files as lists of chunks: a picture's pixels are exchanged, every other chunk stays as it is.

Source: Google, "WebP Container Specification" (RFC 9649).
"""

import struct
from collections.abc import Iterator

from repaint_batch.images import exif, xmp
from repaint_batch.images.formats import LOSSY

_PIXELS = (b"VP8 ", b"VP8L", b"ALPH")
_ANIMATION = (b"ANIM", b"ANMF")
_EXTENDED = b"VP8X"
CARRIED = (*_PIXELS, *_ANIMATION, _EXTENDED, b"EXIF", b"XMP ", b"ICCP")
"""Chunks whose content has a place in other formats."""
_HAS_ALPHA, _HAS_XMP, _HAS_ANIMATION = 0x10, 0x04, 0x02


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, content) of every chunk."""
    end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    at = 12
    while at + 8 <= end:
        (size,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def with_pixels_of(source: bytes, encoded: bytes) -> tuple[bytes, list[str]]:
    """Return the WebP file `source` with the pixels of `encoded`, a lossless still picture, and names of what went."""
    pixels = next(content for kind, content in chunks(encoded) if kind == b"VP8L")
    has_alpha = bool(pixels[4] & 0x10)
    parts, written = [], False
    dropped = [LOSSY] if any(kind == b"VP8 " for kind, _ in chunks(source)) else []
    for kind, content in chunks(source):
        if kind in _PIXELS or kind in _ANIMATION:
            if kind in _ANIMATION:
                dropped.append("animation")
            if not written and kind not in (b"ANIM", b"ALPH"):
                parts.append(_chunk(b"VP8L", pixels))
                written = True
            continue
        names: list[str] = []
        if kind == _EXTENDED:
            flags = content[0] & ~(_HAS_ALPHA | _HAS_ANIMATION) | (_HAS_ALPHA if has_alpha else 0)
            content = bytes([flags]) + content[1:]
        elif kind == b"EXIF":
            content, names = exif.without_thumbnail(content)
        elif kind == b"XMP ":
            content, names = xmp.without_pictures(content)
        elif kind == b"C2PA":
            dropped.append("C2PA manifest")
            continue
        dropped += names
        parts.append(_chunk(kind, content))
    if len(source) > 8 + struct.unpack_from("<I", source, 4)[0] + 1:
        dropped.append("bytes after the picture's end")
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body, list(dict.fromkeys(dropped))


def with_xmp(data: bytes, packet: bytes) -> bytes:
    """Return a WebP file with an XMP packet in place of its own, if it has one."""
    found = [(kind, content) for kind, content in chunks(data) if kind != b"XMP "]
    if found[0][0] != _EXTENDED:
        found.insert(0, (_EXTENDED, _header_of(found)))
    found[0] = (_EXTENDED, bytes([found[0][1][0] | _HAS_XMP]) + found[0][1][1:])
    body = b"WEBP" + b"".join(_chunk(kind, content) for kind, content in [*found, (b"XMP ", packet)])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _header_of(found: list[tuple[bytes, bytes]]) -> bytes:
    """Return the content of an extended header for a lossless picture. Raises ValueError: it is not one."""
    pixels = next((content for kind, content in found if kind == b"VP8L"), None)
    if pixels is None:
        raise ValueError("not a lossless WebP")
    bits = int.from_bytes(pixels[1:5], "little")
    width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
    flags = _HAS_ALPHA if bits >> 28 & 1 else 0
    return struct.pack("<I", flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
