"""PNG files as lists of chunks: a picture's pixels are exchanged, chunks that speak of them go, every other one stays as it is.

Source: PNG specification, third edition (W3C 2025), sections 5 (chunks), 7 (pixel serialisation) and 9 (filters).
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from repaint_batch.images.exif import without_thumbnail
from repaint_batch.images.xmp import without_pictures

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_INTERLACED_AT = 28
HEADER_END = 33
"""Where the chunk after IHDR begins."""

_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_FILTER_UP = 2
_COLOUR_TYPES = {"L": 0, "1": 0, "I;16": 0, "RGB": 2, "P": 3, "LA": 4, "RGBA": 6}
_OF_COLOURS = (b"PLTE", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"bKGD", b"sPLT")
"""Chunks that say what samples mean. They are unsafe to copy where samples are changed in meaning, which they are not here."""
_OTHER_NAMES = {
    b"caBX": "C2PA manifest",
    b"dSIG": "signature (dSIG)",
    b"tIME": "time of the last change (tIME)",
    b"hIST": "histogram (hIST)",
}
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
CARRIED = (b"iCCP", b"pHYs", b"eXIf", b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""Ancillary chunks whose content has a place in other formats."""
_MOST_TEXT_BYTES = 2**24


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, the whole chunk with length and checksum) up to IEND or the end of the bytes."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        yield kind, data[at : at + 12 + length]
        at += 12 + length
        if kind == b"IEND":
            return


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def layout(data: bytes) -> tuple[int, int]:
    """Return (bit depth, colour type) of a PNG file."""
    return data[24], data[25]


def with_pixels_of(source: bytes, encoded: bytes) -> tuple[bytes, list[str]]:
    """Return the PNG file `source` with the pixels of `encoded`, and names of what it no longer holds.

    Both must have the same size and layout. An interlaced file comes back without interlacing, an animation as its first
    frame. A chunk of a kind that is unsafe to copy is not copied unless it is known to say nothing about single pixels.
    """
    header = next(whole for kind, whole in chunks(encoded) if kind == b"IHDR")
    pixels = [whole for kind, whole in chunks(encoded) if kind == b"IDAT"]
    parts, end = [SIGNATURE, header], len(SIGNATURE)
    dropped = ["interlacing"] if source[_INTERLACED_AT] else []
    for kind, whole in chunks(source):
        end += len(whole)
        if kind == b"IDAT":
            parts += pixels
            pixels = []
        elif kind == b"eXIf":
            exif, names = without_thumbnail(whole[8:-4])
            parts.append(chunk(kind, exif) if names else whole)
            dropped += names
        elif kind == b"iTXt" and whole[8:].startswith(_XMP_KEYWORD):
            packet, names = _without_pictures(whole)
            parts.append(packet)
            dropped += names
        elif kind in _ANIMATION:
            dropped.append("animation")
        elif kind != b"IHDR":
            is_ancillary, is_safe = bool(kind[0] & 0x20), bool(kind[3] & 0x20)
            if is_ancillary and not is_safe and kind not in _OF_COLOURS:
                dropped.append(_OTHER_NAMES.get(kind, f"chunk {kind.decode('latin-1')}"))
            else:
                parts.append(whole)
    if len(source) > end:
        dropped.append("bytes after the picture's end")
    return b"".join(parts), list(dict.fromkeys(dropped))


def _without_pictures(whole: bytes) -> tuple[bytes, list[str]]:
    """Return an iTXt chunk of XMP without pictures in it; a compressed one is unpacked and packed again if it has any."""
    content = whole[8:-4]
    at = len(_XMP_KEYWORD)
    is_compressed = content[at : at + 1] == b"\1"
    text = content.find(b"\0", content.find(b"\0", at + 2) + 1) + 1
    packet = content[text:]
    if is_compressed:
        unpacker = zlib.decompressobj()
        try:
            packet = unpacker.decompress(packet, _MOST_TEXT_BYTES)
        except zlib.error:
            return whole, []
        if unpacker.unconsumed_tail:
            return whole, []
    packet, names = without_pictures(packet)
    if not names:
        return whole, []
    return chunk(b"iTXt", content[:text] + (zlib.compress(packet) if is_compressed else packet)), names


def encode(samples: np.ndarray, mode: str, depth: int) -> bytes:
    """Return a PNG file without any metadata, for the layouts that Pillow cannot write.

    Args:
        samples: (H, W) or (H, W, C) uint8 or uint16; of fewer than 8 bits, palette indices as they are and grey scaled
            to 0 .. 255, as Pillow decodes them.
        mode: L, P, I;16, LA, RGB or RGBA, or ``LA;16`` and the like.
        depth: 1, 2, 4, 8 or 16 bits a sample.
    """
    base = mode if mode == "I;16" else mode.removesuffix(";16")
    height, width = samples.shape[:2]
    if depth < 8:
        if base != "P":
            samples = samples >> (8 - depth)
        rows = _pack(samples, depth)
    else:
        rows = samples.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1).view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[base], 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", _filtered(rows)) + chunk(b"IEND", b"")


def _pack(samples: np.ndarray, depth: int) -> np.ndarray:
    height, width = samples.shape
    per_byte = 8 // depth
    padded = np.zeros((height, -(-width // per_byte) * per_byte), dtype=np.uint8)
    padded[:, :width] = samples
    packed = np.zeros((height, padded.shape[1] // per_byte), dtype=np.uint8)
    for place in range(per_byte):
        packed |= padded[:, place::per_byte] << (8 - depth * (place + 1))
    return packed


def _filtered(rows: np.ndarray) -> bytes:
    """Return the compressed scanlines, each as its difference to the one above."""
    compressor = zlib.compressobj(6)
    parts = []
    above = np.zeros((1, rows.shape[1]), dtype=np.uint8)
    for top in range(0, len(rows), 256):
        strip = rows[top : top + 256]
        lines = np.full((len(strip), rows.shape[1] + 1), _FILTER_UP, dtype=np.uint8)
        lines[:, 1:] = strip - np.concatenate([above, strip[:-1]])
        parts.append(compressor.compress(lines.tobytes()))
        above = strip[-1:]
    return b"".join([*parts, compressor.flush()])
