"""A judge that shares no code with the product: pixels by tifffile, OpenCV and Pillow's plugins, metadata by its own walk."""

import io
import re
import struct
from collections.abc import Iterator, Sequence

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from .odd_files import HEIGHT, HOLE, SECRET, WIDTH, OddFile

_LAYOUT_TAGS = {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 338, 339}
_NEAR_PX = 24
"""As far as the blocks and the smoothed chroma of a JPEG reach."""


def box() -> np.ndarray:
    """Return (H, W) bool, True in the hole of every file that `odd_files` makes."""
    hole = np.zeros((HEIGHT, WIDTH), dtype=bool)
    hole[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = True
    return hole


def verdict(odd: OddFile, result: bytes, dropped: Sequence[str], hole: np.ndarray | None = None) -> str:
    """Return ``equal`` and ``kept``, or what was dropped by name; or ``WRONG`` and why.

    Args:
        odd: what came in.
        result: what came out.
        dropped: what the row names.
        hole: (H, W) bool over the picture as stored; by default `box`.
    """
    recoded = any(word in name for name in dropped for word in ("compression", "encoding", "subsampling"))
    meaning = [] if recoded else _meaning(odd, result)
    wrong = [*_pixels(odd, result, box() if hole is None else hole), *meaning, *_beside(odd, result, dropped)]
    stale = [name for name, mark in (("a secret", SECRET), ("a coded secret", _coded())) if mark in result]
    wrong += [f"{name} is still there" for name in stale]
    wrong += [f"nothing says that {word!r} is gone" for word in odd.lost if not any(word in name for name in dropped)]
    if wrong:
        return "WRONG: " + "; ".join(wrong)
    return "equal" + (f"; dropped: {', '.join(dropped)}" if dropped else "; kept")


def _coded() -> bytes:
    # Of base64 of something in the middle of a longer text, what does not depend on where in it.
    import base64

    return base64.b64encode(SECRET[1:])[4:20]


def seen(data: bytes, kind: str) -> np.ndarray:
    """Return the samples that another library sees."""
    if kind == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            samples = page.asarray()
            return np.moveaxis(samples, 0, -1) if page.planarconfig == 2 and page.samplesperpixel > 1 else samples
    if kind == "JXL":
        return np.asarray(imagecodecs.jpegxl_decode(data))
    if kind == "JPEG" and imagecodecs.jpeg8_decode(data).shape[2:] == (4,):
        return np.asarray(imagecodecs.jpeg8_decode(data))
    if kind == "GIF":
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    if kind == "AVIF":
        return np.asarray(imagecodecs.avif_decode(data))
    if kind == "PNG" and data[25] == 3:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    flags = cv2.IMREAD_UNCHANGED if kind in ("PNG", "WEBP", "BMP", "JPEG2000") else cv2.IMREAD_ANYCOLOR
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION if flags >= 0 else flags)
    assert found is not None, f"OpenCV reads no {kind}"
    return np.asarray(found)


def _pixels(odd: OddFile, result: bytes, hole: np.ndarray) -> Iterator[str]:
    before, after = seen(odd.data, odd.kind), seen(result, odd.kind)
    if before.shape != after.shape or before.dtype != after.dtype:
        yield f"{before.dtype}{before.shape} became {after.dtype}{after.shape}"
        return
    if before[hole].tobytes() == after[hole].tobytes():
        yield "nothing was restored"
    if odd.kind == "JPEG":
        far = ~cv2.dilate(hole.astype(np.uint8), np.ones((2 * _NEAR_PX + 1,) * 2)).astype(bool)
        off = np.abs(before[far].astype(int) - after[far].astype(int)).mean() if far.any() else 0
        # What an encoder made up beyond the edge to fill a block is not handed out: there it is another block.
        if off > 4:
            yield f"far from the hole pixels are off by {off:.1f} in the mean"
    elif odd.kind in ("JXL", "AVIF"):
        # No two decoders agree on lossy ones: by one step each.
        if (off := np.abs(before[~hole].astype(int) - after[~hole].astype(int)).max()) > 3:
            yield f"known pixels are off by {off}"
    elif before[~hole].tobytes() != after[~hole].tobytes():
        yield "known pixels differ"


def _meaning(odd: OddFile, result: bytes) -> Iterator[str]:
    """Yield what samples mean otherwise than they did."""
    if odd.kind == "TIFF":
        with tifffile.TiffFile(io.BytesIO(odd.data)) as one, tifffile.TiffFile(io.BytesIO(result)) as other:
            for name in ("bitspersample", "photometric", "sampleformat", "extrasamples", "planarconfig", "compression",
                         "predictor", "is_tiled", "samplesperpixel"):
                before, after = getattr(one.pages[0], name), getattr(other.pages[0], name)
                if before != after:
                    yield f"{name} was {before} and is {after}"
            if one.is_bigtiff != other.is_bigtiff or one.byteorder != other.byteorder:
                yield "another kind of TIFF"
    if odd.kind == "PNG" and odd.data[24:26] != result[24:26]:
        yield "depth or colours of the PNG changed"
    if odd.kind == "JPEG" and _frame(odd.data) != _frame(result):
        yield f"sampling was {_frame(odd.data)} and is {_frame(result)}"
    if odd.kind == "BMP" and odd.data[14:54] != result[14:54]:
        yield "header of the BMP changed"


def _frame(data: bytes) -> list[int]:
    """Return the sampling factors of a JPEG's components."""
    at = 2
    while data[at] != 0xFF or data[at + 1] not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
        at += 1 if data[at] != 0xFF or data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return [data[at + 11 + 3 * number] for number in range(data[at + 9])]


def beside(data: bytes, kind: str) -> dict[str, bytes]:
    """Return everything that stands beside the pixels, by names."""
    found: dict[str, bytes] = {}
    for name, value in _walk(data, kind):
        found[f"{name} ({sum(key.startswith(name + ' (') for key in found)})"] = value
    return found


def _walk(data: bytes, kind: str) -> Iterator[tuple[str, bytes]]:
    if kind == "TIFF":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            for tag in file.pages[0].tags:
                if tag.code not in _LAYOUT_TAGS:
                    yield f"tag {tag.code} type {int(tag.dtype)}", data[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
    elif kind == "PNG":
        at = 8
        while at + 12 <= len(data):
            (size,) = struct.unpack_from(">I", data, at)
            name = data[at + 4 : at + 8].decode("latin-1")
            if name not in ("IHDR", "IDAT", "IEND"):
                yield name, data[at + 8 : at + 8 + size]
            at += 12 + size
            if name == "IEND":
                return
    elif kind == "WEBP":
        at = 12
        while at + 8 <= len(data):
            (size,) = struct.unpack_from("<I", data, at + 4)
            name = data[at : at + 4].decode("latin-1")
            if name not in ("VP8 ", "VP8L", "VP8X", "ALPH"):
                yield name, data[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
    elif kind == "JPEG":
        at = 2
        while at + 4 <= len(data) and data[at + 1] != 0xDA:
            if data[at] != 0xFF or data[at + 1] in (0, 0xFF):
                at += 1
                continue
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            if 0xE0 <= data[at + 1] <= 0xEF or data[at + 1] == 0xFE:
                content = data[at + 4 : at + 2 + size]
                yield f"segment {data[at + 1]:x} {content[:4]!r}", content
            at += 2 + size
    elif kind == "GIF":
        yield "palette", data[6:13] + data[13 : 13 + (3 << ((data[10] & 7) + 1))]
        yield "comment", b"".join(re.findall(rb"\x21\xfe.a comment", data, re.DOTALL))
        yield "xmp", b"".join(re.findall(rb"XMP DataXMP.*?</x:xmpmeta>", data, re.DOTALL))
        yield "control", b"".join(re.findall(rb"\x21\xf9\x04.{5}", data, re.DOTALL))
    elif kind == "BMP":
        (at,) = struct.unpack_from("<I", data, 10)
        yield "head", data[:at]
        yield "profile", data[-16:] if data.endswith(b"a colour profile") else b""


def _beside(odd: OddFile, result: bytes, dropped: Sequence[str]) -> Iterator[str]:
    """Yield what is neither as it was nor named; what was edited has kept its length, but for what is named."""
    before, after = beside(odd.data, odd.kind), beside(result, odd.kind)
    for name, value in before.items():
        if after.get(name) == value or "Adobe" in name:
            continue
        if not dropped:
            yield f"{name} {'changed' if name in after else 'went'} and nothing says so"
    gone = {name for name in before.keys() - after.keys() if not name.startswith(("acTL", "fcTL", "fdAT", "tag 347", "tag 53"))}
    if len(gone) > len(dropped):
        yield f"{sorted(gone)} went, and {dropped} are named"
    for name in after.keys() - before.keys():
        if "Adobe" not in name and not name.startswith(("tag 700", "tag 34377")):
            yield f"{name} is new"
