"""BMP files whose rows of pixels are exchanged; headers, palette and colour profile stay byte for byte.

Rows that were run-length encoded become plain ones, which every reader knows.

Source: Microsoft, "Bitmap Storage" and BITMAPV5HEADER (2021).
"""

import struct
from dataclasses import dataclass

import numpy as np

from repaint_batch.images.picture import Picture

_FILE_HEADER, _CORE_HEADER, _INFO_HEADER = 14, 12, 40
_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_PROFILE_AT, _PROFILE_BYTES_AT = 112, 116


@dataclass(frozen=True)
class _Header:
    at: int
    bits: int
    compression: int
    top_down: bool
    masks: tuple[int, int, int, int]


def _header(data: bytes) -> _Header:
    (at,) = struct.unpack_from("<I", data, 10)
    (size,) = struct.unpack_from("<I", data, _FILE_HEADER)
    if size == _CORE_HEADER:
        (bits,) = struct.unpack_from("<H", data, _FILE_HEADER + 10)
        return _Header(at, bits, _PLAIN, False, _standard(bits))
    height, _, bits, compression = struct.unpack_from("<iHHI", data, _FILE_HEADER + 8)
    masks = _standard(bits)
    if compression in (_MASKS, _ALPHA_MASKS):
        with_alpha = size >= 56 or compression == _ALPHA_MASKS
        found = struct.unpack_from("<4I" if with_alpha else "<3I", data, _FILE_HEADER + _INFO_HEADER)
        masks = (found[0], found[1], found[2], found[3] if with_alpha else 0)
        if not any(masks):  # as Pillow reads it
            masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return _Header(at, bits, compression, height < 0, masks)


def _standard(bits: int) -> tuple[int, int, int, int]:
    return (0x7C00, 0x3E0, 0x1F, 0) if bits == 16 else (0xFF0000, 0xFF00, 0xFF, 0)


def encode_like(picture: Picture) -> tuple[bytes, list[str]]:
    """Return the file that `picture` came from with its pixels, and names of what it no longer holds.

    Raises:
        ValueError, struct.error: the file is of a kind that is not written.
    """
    source, header = picture.data, _header(picture.data)
    samples = picture.whole()
    rows = _rows(samples, source, header)
    stride = -(-rows.shape[1] // 4) * 4
    padded = np.zeros((len(rows), stride), dtype=np.uint8)
    # What stands beside a row's pixels stands there still.
    if header.compression not in (_RLE8, _RLE4):
        old = np.frombuffer(source, np.uint8, len(rows) * stride, header.at).reshape(len(rows), stride)
        padded[:] = old
    padded[:, : rows.shape[1]] = rows if header.top_down else rows[::-1]
    pixels = padded.tobytes()
    if header.compression not in (_RLE8, _RLE4):
        return source[: header.at] + pixels + source[header.at + len(pixels) :], []
    return _unpacked(source, header, pixels), ["run-length encoding"]


def _unpacked(source: bytes, header: _Header, pixels: bytes) -> bytes:
    """Return a run-length encoded file with plain rows of the same depth."""
    head = bytearray(source[: header.at])
    (old_size,) = struct.unpack_from("<I", head, _FILE_HEADER + 20)
    tail = source[header.at + old_size :] if old_size else b""
    struct.pack_into("<II", head, _FILE_HEADER + 16, _PLAIN, len(pixels))
    struct.pack_into("<I", head, 2, len(head) + len(pixels) + len(tail))
    (size,) = struct.unpack_from("<I", head, _FILE_HEADER)
    if size >= 124:
        profile, length = struct.unpack_from("<II", head, _FILE_HEADER + _PROFILE_AT)
        if length and profile + _FILE_HEADER >= header.at:
            struct.pack_into("<I", head, _FILE_HEADER + _PROFILE_AT, profile + len(pixels) - old_size)
    return bytes(head) + pixels + tail


def _rows(samples: np.ndarray, source: bytes, header: _Header) -> np.ndarray:
    """Return (H, bytes) of the rows from top to bottom."""
    height, width = samples.shape[:2]
    if header.bits <= 8:
        if samples.ndim != 2:
            raise ValueError(f"a palette of {header.bits} bits that is not one")
        return _indices(samples, source, header)
    if header.bits == 24:
        return np.ascontiguousarray(samples[..., 2::-1]).reshape(height, -1)
    values = np.zeros((height, width), dtype=np.uint32)
    for channel, mask in zip(range(samples.shape[2]), header.masks, strict=False):
        if not mask:
            continue
        shift, top = (mask & -mask).bit_length() - 1, mask >> ((mask & -mask).bit_length() - 1)
        # Pillow spreads n bits over 8; the nearest of them is what it came from.
        steps = (samples[..., channel].astype(np.uint32) * top + 127) // 255
        values |= steps << shift
    dtype = np.dtype("<u2") if header.bits == 16 else np.dtype("<u4")
    used = np.uint32(sum(header.masks))
    old = np.frombuffer(source, np.uint8, height * -(-width * dtype.itemsize // 4) * 4, header.at).reshape(height, -1)
    before = np.ascontiguousarray(old[:, : width * dtype.itemsize]).view(dtype).astype(np.uint32)
    before = before if header.top_down else before[::-1]
    return np.ascontiguousarray((values | (before & ~used)).astype(dtype)).view(np.uint8).reshape(height, -1)


def _indices(samples: np.ndarray, source: bytes, header: _Header) -> np.ndarray:
    """Return rows of numbers of palette entries, packed."""
    numbers = samples.astype(np.uint8)
    if header.bits in (1, 4, 8):
        shades = _grey_entries(source, header)
        if shades is not None:
            # Pillow hands out a palette of greys in order as grey, or as black and white.
            numbers = shades[samples.astype(np.uint8) * np.uint8(255 if samples.dtype == bool else 1)]
    if header.bits == 8:
        return numbers
    if header.bits == 1:
        return np.packbits(numbers != 0, axis=1)
    wide = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2)))
    return np.asarray(wide[:, ::2] << 4 | wide[:, 1::2])


def _grey_entries(source: bytes, header: _Header) -> np.ndarray | None:
    """Return the entry of each shade of grey, where that is how Pillow hands out the palette; None: it hands out entries."""
    import io

    from PIL import Image

    if Image.open(io.BytesIO(source), formats=["BMP"]).mode not in ("1", "L"):
        return None
    (size,) = struct.unpack_from("<I", source, _FILE_HEADER)
    width = 3 if size == _CORE_HEADER else 4
    entries = np.frombuffer(source[_FILE_HEADER + size : header.at], np.uint8)
    greys = entries[: len(entries) // width * width].reshape(-1, width)[: 2**header.bits, 0]
    numbers = np.zeros(256, dtype=np.uint8)
    numbers[greys[::-1]] = np.arange(len(greys) - 1, -1, -1)
    return numbers
