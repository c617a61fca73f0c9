"""Small copies of a picture in EXIF: they still show what was restored, so they do not come along.

Source: CIPA DC-008 (Exif 3.0), 4.5: the second directory (IFD1) describes the thumbnail. Cameras keep larger previews in
their maker notes, as JPEG.
"""

import re
import struct

MARK = b"Exif\0\0"
_OFFSET, _LENGTH = 0x0201, 0x0202
_STRIP_OFFSETS, _STRIP_LENGTHS = 0x0111, 0x0117
_LONG = 4
_ENTRY_BYTES = 12
_MAKER_NOTE = 0x927C
_ORIENTATION = 0x0112
_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xfe].*?\xff\xd9", re.DOTALL)
_LEAST_JPEG_BYTES = 64


def without_thumbnail(exif: bytes) -> tuple[bytes, list[str]]:
    """Return EXIF bytes without pictures in them, and names of what went; the rest stays in its place, byte for byte.

    The thumbnail is blanked and no longer pointed to; a JPEG anywhere else, as in maker notes, is blanked. What cannot be
    followed stays as it is: a reader cannot follow it either.

    Args:
        exif: a TIFF header and directories, with or without ``Exif\\0\\0`` before them.
    """
    start = len(MARK) if exif.startswith(MARK) else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if order is None:
        return exif, []
    tiff = bytearray(exif[start:])
    dropped = ["thumbnail in EXIF"] if _unlinked(tiff, order) else []
    if _blank_jpegs(tiff, 0, len(tiff)):
        dropped.append("previews in EXIF")
    return exif[:start] + bytes(tiff), dropped


def _unlinked(tiff: bytearray, order: str) -> bool:
    try:
        link = _end(tiff, order, struct.unpack_from(f"{order}I", tiff, 4)[0])
        second = struct.unpack_from(f"{order}I", tiff, link)[0]
        if not second:
            return False
        struct.pack_into(f"{order}I", tiff, link, 0)
        found = _longs(tiff, order, second)
        for offset, length in ((_OFFSET, _LENGTH), (_STRIP_OFFSETS, _STRIP_LENGTHS)):
            if offset in found and length in found:
                low, high = found[offset], min(found[offset] + found[length], len(tiff))
                tiff[low:high] = bytes(max(high - low, 0))
    except struct.error:
        return False
    return True


def upright(exif: bytes) -> bytes:
    """Return EXIF bytes that call the picture upright, if they say anything of its orientation."""
    start = len(MARK) if exif.startswith(MARK) else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if order is None:
        return exif
    tiff = bytearray(exif[start:])
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        for at in range(directory + 2, _end(tiff, order, directory), _ENTRY_BYTES):
            if struct.unpack_from(f"{order}H", tiff, at)[0] == _ORIENTATION:
                struct.pack_into(f"{order}H", tiff, at + 8, 1)
    except struct.error:
        return exif
    return exif[:start] + bytes(tiff)


def without_embedded(tiff: bytearray, order: str, directory: int) -> bool:
    """Blank JPEGs in the maker note of an EXIF directory of a TIFF file; return whether there were any."""
    try:
        for at in range(directory + 2, _end(tiff, order, directory), _ENTRY_BYTES):
            tag, _, count, value = struct.unpack_from(f"{order}HHII", tiff, at)
            if tag == _MAKER_NOTE and count > 4:
                return _blank_jpegs(tiff, value, value + count)
    except struct.error:
        pass
    return False


def _blank_jpegs(tiff: bytearray, low: int, high: int) -> bool:
    found = False
    for match in _JPEG.finditer(bytes(tiff[low:high])):
        if match.end() - match.start() >= _LEAST_JPEG_BYTES:
            tiff[low + match.start() : low + match.end()] = bytes(match.end() - match.start())
            found = True
    return found


def _end(tiff: bytes | bytearray, order: str, directory: int) -> int:
    """Return where a directory's link to the next one stands."""
    return int(directory + 2 + _ENTRY_BYTES * struct.unpack_from(f"{order}H", tiff, directory)[0])


def _longs(tiff: bytes | bytearray, order: str, directory: int) -> dict[int, int]:
    """Return the entries of a directory that are one number of 32 bits."""
    found = {}
    for at in range(directory + 2, _end(tiff, order, directory), _ENTRY_BYTES):
        tag, kind, count, value = struct.unpack_from(f"{order}HHII", tiff, at)
        if (kind, count) == (_LONG, 1):
            found[tag] = value
    return found
