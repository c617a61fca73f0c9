"""The small copy of a picture that cameras put into EXIF: it still shows what was restored, so it does not come along.

Source: CIPA DC-008 (Exif 3.0), 4.5: the second directory (IFD1) describes the thumbnail.
"""

import struct

MARK = b"Exif\0\0"
_OFFSET, _LENGTH = 0x0201, 0x0202
_STRIP_OFFSETS, _STRIP_LENGTHS = 0x0111, 0x0117
_LONG = 4
_ENTRY_BYTES = 12


def without_thumbnail(exif: bytes) -> bytes:
    """Return EXIF bytes whose thumbnail is blanked and no longer pointed to; the rest stays in its place, byte for byte.

    What cannot be followed stays as it is: a reader cannot follow it either.

    Args:
        exif: a TIFF header and directories, with or without ``Exif\\0\\0`` before them.
    """
    start = len(MARK) if exif.startswith(MARK) else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if order is None:
        return exif
    tiff = bytearray(exif[start:])
    try:
        link = _end(tiff, order, struct.unpack_from(f"{order}I", tiff, 4)[0])
        second = struct.unpack_from(f"{order}I", tiff, link)[0]
        if not second:
            return exif
        struct.pack_into(f"{order}I", tiff, link, 0)
        found = _longs(tiff, order, second)
        for offset, length in ((_OFFSET, _LENGTH), (_STRIP_OFFSETS, _STRIP_LENGTHS)):
            if offset in found and length in found:
                low, high = found[offset], min(found[offset] + found[length], len(tiff))
                tiff[low:high] = bytes(max(high - low, 0))
    except struct.error:
        return exif
    return exif[:start] + bytes(tiff)


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
