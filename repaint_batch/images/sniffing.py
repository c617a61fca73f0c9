"""Formats told by their first bytes, and what those are that are none of ours.

Sources: the signatures of the formats' own specifications; ISO 14496-12 for brands; libraw for raw files.
"""

import struct
import zlib

_RAW = "is a camera's raw file: develop it to a 16-bit TIFF or a JPEG in a raw converter, and give that"
_HEAD_BYTES = 512
_FRAMES = {
    0xC3: "a lossless JPEG (SOF3)",
    0xC5: "a hierarchical JPEG",
    0xC6: "a hierarchical JPEG",
    0xC7: "a lossless hierarchical JPEG",
    0xCB: "a lossless JPEG with arithmetic coding",
    0xCD: "a hierarchical JPEG",
    0xCE: "a hierarchical JPEG",
    0xCF: "a lossless hierarchical JPEG",
    0xF7: "a JPEG-LS",
}
_OTHERS = (
    (b"8BPS", "is no picture in a known format but a Photoshop document: flatten it to a TIFF or PNG"),
    (b"%PDF", "is no picture in a known format but a PDF: render its pages to a multi-page TIFF, and set images.frames to all"),
    (b"%!PS", "is no picture in a known format but PostScript: render it to a TIFF or PNG"),
    (b"\x1f\x8b", "is no picture in a known format but gzip: unpack it"),
    (b"PK\x03\x04", "is no picture in a known format but a ZIP archive: unpack it"),
    (b"\0\x05\x16\x07", "is no picture in a known format but an AppleDouble file of macOS, what is left of one beside it"),
    (b"version https://git-lfs", "is no picture in a known format but a pointer of Git LFS: fetch the file with `git lfs pull`"),
    (b"{", "is no picture in a known format but JSON, perhaps an error that was saved in place of the picture"),
    (b"IIRO", _RAW), (b"IIRS", _RAW), (b"MMOR", _RAW), (b"IIU\0", _RAW), (b"FUJIFILMCCD-RAW", _RAW), (b"FOVb", _RAW),
    (b"II\x1a\0\0\0HEAPCCDR", _RAW),
)


def format_of(data: bytes) -> str | None:
    """Return Pillow's name of the format that `data` begins as; None: none that is read."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG" if _odd_jpeg(data) is None else None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and data[8:12] != b"CR\x02\0":
        return "TIFF"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:2] == b"BM" and len(data) > 18 and struct.unpack_from("<I", data, 14)[0] in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or data[:4] == b"\xff\x4f\xff\x51":
        return "JPEG2000"
    if data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n" or data[:2] == b"\xff\x0a":
        return "JXL"
    if data[4:8] == b"ftyp":
        return _of_brands(data)
    return None


def _of_brands(data: bytes) -> str | None:
    end = min(int.from_bytes(data[:4], "big"), _HEAD_BYTES, len(data))
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}:
        return "HEIF"
    return None


def described(data: bytes, known: tuple[str, ...]) -> str:
    """Return what bytes are that begin as no format that is read, and what to do about it where that is known."""
    head = data[:_HEAD_BYTES].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, perhaps an error that was saved in place of the picture"
    if head.startswith((b"<?xml", b"<svg")):
        return "is XML or SVG, not pixels"
    if data[:3] == b"\xff\xd8\xff":
        return f"is {_odd_jpeg(data)}, which is not restored; convert it to a TIFF or PNG of the same depth"
    if data[4:11] == b"ftypcrx" or data[8:12] == b"CR\x02\0":
        return _RAW
    if data[4:8] == b"ftyp":
        return f"is a film or of another kind of ISO media file ({data[8:12]!r}); extract its pictures"
    for start, meaning in _OTHERS:
        if data.startswith(start):
            return meaning
    return f"is no picture in a known format (it starts with {data[:12]!r}); {', '.join(known)} are read"


def _odd_jpeg(data: bytes) -> str | None:
    """Return the kind of a JPEG that is not the usual one of 8 bits; None: it is."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xDA, 0xD9):
            return None
        if marker in _FRAMES:
            return _FRAMES[marker]
        if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
            precision = data[at + 4]
            if precision != 8:
                return f"a JPEG of {precision} bits a sample"
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            return None if height else "a JPEG that tells its height only at its end (DNL)"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def broken_png_chunk(data: bytes) -> str | None:
    """Return the name of the first chunk of a PNG whose checksum is wrong; None: all are right."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            return None
        if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            return data[at + 4 : at + 8].decode("latin-1")
        at = end
    return None
