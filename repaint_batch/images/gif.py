"""GIF files as lists of blocks: the picture's pixels are exchanged, every other block stays as it is.

Source: CompuServe, "Graphics Interchange Format", version 89a.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from repaint_batch.images import xmp
from repaint_batch.images.box import Box

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_XMP_APPLICATION = b"XMP DataXMP"
XMP_BLOCK = bytes([_EXTENSION, 0xFF, len(_XMP_APPLICATION)]) + _XMP_APPLICATION
"""What stands before a packet."""
_INTERLACED = 0x40


@dataclass(frozen=True)
class _Block:
    """A block: its first byte, an image's descriptor and palette or an extension's label, and the data blocks."""

    kind: int
    start: int
    data: int
    end: int


def head(data: bytes) -> int:
    """Return where the first block begins."""
    flags = data[10]
    return 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)


def _blocks(data: bytes) -> Iterator[_Block]:
    at = head(data)
    while at < len(data) and data[at] in (_EXTENSION, _IMAGE):
        start = at
        if data[at] == _IMAGE:
            flags = data[at + 9]
            at += 10 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0) + 1
        else:
            at += 2
        inside = at
        while data[at]:
            at += data[at] + 1
        at += 1
        yield _Block(data[start], start, inside, at)


def frame_of(data: bytes) -> Box:
    """Return where on the screen the first picture lies.

    Raises:
        IndexError, ValueError, StopIteration: the blocks cannot be followed.
    """
    block = next(block for block in _blocks(data) if block.kind == _IMAGE)
    left, top, width, height = struct.unpack_from("<4H", data, block.start + 1)
    return left, top, left + width, top + height


def with_pixels_of(source: bytes, encoded: bytes) -> tuple[bytes, list[str]]:
    """Return the GIF file `source` with the picture of `encoded` in place of its first, and names of what went.

    Palette, transparency, place on the screen, comments and what applications wrote stay as they are.

    Raises:
        IndexError, ValueError: the blocks of a file cannot be followed.
    """
    fresh = next(block for block in _blocks(encoded) if block.kind == _IMAGE)
    pixels = encoded[fresh.data - 1 : fresh.end]
    parts, dropped, written = [source[: head(source)]], [], False
    end = head(source)
    for block in _blocks(source):
        whole = source[block.start : block.end]
        end = block.end
        if block.kind == _IMAGE:
            if written:
                dropped.append("further frames")
                continue
            descriptor = whole[:9] + bytes([whole[9] & ~_INTERLACED])
            parts += [descriptor, source[block.start + 10 : block.data - 1], pixels]
            written = True
        elif whole[3:14] == _XMP_APPLICATION:
            packet, names = xmp.without_pictures(whole)
            parts.append(packet)
            dropped += names
        elif written and whole[1] == 0xF9:
            continue  # says how the next frame is shown
        else:
            parts.append(whole)
    if source[end + 1 :].strip(b"\0"):
        dropped.append("bytes after the picture's end")
    return b"".join([*parts, bytes([_TRAILER])]), list(dict.fromkeys(dropped))


def has_comment(data: bytes) -> bool:
    """Return whether a file holds comments."""
    try:
        return any(data[block.start + 1] == 0xFE for block in _blocks(data) if block.kind == _EXTENSION)
    except IndexError:
        return False
