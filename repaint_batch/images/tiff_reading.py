"""TIFF files to samples, by tifffile and imagecodecs: any depth, type, number of channels and arrangement that they know.

Source: TIFF revision 6.0 (Adobe 1992); DNG 1.7 and TIFF/EP for what tells raw files.
"""

import io
import logging
import struct
from typing import Any

import numpy as np

from repaint_batch.images.layout import Alpha, Kind, Layout
from repaint_batch.images.picture import Picture
from repaint_batch.images.refusal import Refused
from repaint_batch.images.tiff_directory import Directory, TiffBytes

SUBFILE, SUBFILE_OLD, ORIENTATION, LARGEST_SAMPLE, ICC = 254, 255, 274, 281, 34675
_DNG_VERSION, _CFA, _LINEAR_RAW, _MAKE = 50706, 32803, 34892, 271
_KINDS: dict[int, Kind] = {0: "grey", 1: "grey", 2: "rgb", 3: "palette", 4: "grey", 5: "cmyk", 6: "rgb", 8: "lab"}
"""Photometric interpretations; luma and chroma are compressed as JPEG, and handed out as RGB."""
_NAMES = {9: "ICC Lab", 10: "ITU Lab", 32844: "LogL", 32845: "LogLuv", _CFA: "a colour filter array"}
_ASSOCIATED, _STRAIGHT = 1, 2
_DEPTHS = (1, 2, 4, 8, 10, 12, 14, 16, 32, 64)
_MOST_SAMPLES = 16
_RAW = "is a camera's raw file: develop it to a 16-bit TIFF or a JPEG in a raw converter, and give that"


def full_pages(file: TiffBytes, pages: list[Directory]) -> list[int]:
    """Return the numbers of pages that are pictures of their own, and not smaller copies or masks of others."""
    reduced = [bool((file.numbers(page, SUBFILE) or [0])[0] & 5) or file.numbers(page, SUBFILE_OLD) == [2] for page in pages]
    # A file that has nothing else is read all the same.
    return [number for number, is_reduced in enumerate(reduced) if not is_reduced] or [0]


def pages(data: bytes) -> list[int]:
    """Return the numbers of a file's full pages.

    Raises:
        Refused: its directories cannot be followed, or it is a raw file.
    """
    try:
        file = TiffBytes(data)
        found = file.pages()
    except (ValueError, struct.error, KeyError, OverflowError) as error:
        raise Refused(f"truncated or damaged TIFF: its header cannot be read ({error})") from error
    if not found:
        raise Refused("truncated or damaged TIFF: it holds no picture")
    first = found[0]
    if _DNG_VERSION in first.entries or data[8:10] == b"CR" or _holds_raw(file, first):
        raise Refused(_RAW)
    return full_pages(file, found)


def _holds_raw(file: TiffBytes, page: Directory) -> bool:
    """Return whether a directory, or one below it, is of a sensor's samples."""
    below = [page]
    for at in file.numbers(page, 330):
        try:
            below.append(file.directory(at))
        except (ValueError, struct.error, OverflowError):
            continue
    return any(file.numbers(directory, 262) in ([_CFA], [_LINEAR_RAW]) for directory in below)


def opened(data: bytes, number: int) -> Any:
    """Return a page of a file as tifffile knows it."""
    import tifffile

    # Of odd metadata, which is kept as it is.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return tifffile.TiffFile(io.BytesIO(data)).pages[number]


def size(data: bytes, number: int) -> tuple[int, int]:
    """Return width and height of a page. Raises Refused: they are nowhere."""
    try:
        page = opened(data, number)
        return int(page.imagewidth), int(page.imagelength)
    except Exception as error:  # parsers raise whatever broken headers provoke
        raise Refused(f"truncated or damaged TIFF: its header cannot be read ({type(error).__name__}: {error})") from error


def read(data: bytes, number: int, pages: int, as_coded: bool = False) -> Picture:
    """Return a page, whose size has been looked at.

    Raises:
        Refused: damaged, or of a kind that cannot be kept.
    """
    page = opened(data, number)
    layout = _layout(page)
    _check_complete(data, page)
    try:
        samples = page.asarray(maxworkers=1)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, ValueError, struct.error, their libraries' own, ...
        raise Refused(f"truncated or damaged TIFF, or of a kind that is not read ({error})") from error
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        samples = np.moveaxis(samples, 0, -1)
    if layout.kind == "bilevel":
        samples = samples.astype(bool)
    shape = (page.imagelength, page.imagewidth) + ((layout.samples,) if layout.samples > 1 else ())
    samples = np.ascontiguousarray(samples.reshape(shape)).astype(layout.dtype, copy=False)
    if not samples.flags.writeable:
        samples = samples.copy()
    icc = page.tags.valueof(ICC) or b""
    palette, is_rounded = _palette(page) if layout.kind == "palette" else (None, False)
    orientation = _orientation(page)
    return Picture(samples, layout, "TIFF", orientation, data, palette, is_rounded, bytes(icc), number, pages)


def _layout(page: Any) -> Layout:
    photometric = int(page.photometric)
    if photometric not in _KINDS:
        kind = _NAMES.get(photometric, f"photometric interpretation {photometric}")
        raise Refused(f"a TIFF of {kind} is not restored; convert it to grey, RGB or CMYK")
    if page.samplesperpixel > _MOST_SAMPLES:
        raise Refused(f"{page.samplesperpixel} samples a pixel are more than the {_MOST_SAMPLES} that are restored")
    kind, bits, form = _KINDS[photometric], page.bitspersample, page.sampleformat
    if not isinstance(bits, int) or page.dtype is None or page.dtype.kind not in "buif" or bits not in _DEPTHS:
        raise Refused(f"samples of {bits} bits (format {form}) are not restored; convert them to 8, 16 or 32 bits")
    if int(page.imagedepth) > 1:
        raise Refused("a TIFF of several slices in depth is not restored; store them as pages")
    if photometric == 6 and int(page.compression) not in (6, 7):
        raise Refused("a TIFF of luma and chroma without JPEG is not restored; convert it to RGB")
    dtype = np.dtype(page.dtype.str[1:]).newbyteorder("=")
    if bits == 1 and page.samplesperpixel == 1 and kind == "grey":
        return Layout("bilevel", np.dtype(bool), inverted=photometric == 0, top=255.0, depth=1)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)  # numbers of a palette, or several samples of one bit
    if kind == "lab" and bits != 8:
        raise Refused(f"a TIFF of Lab with {bits} bits is not restored; convert it to 8 bits, or to RGB")
    colours = Layout(kind, dtype).colours
    further = page.samplesperpixel - colours
    if further < 0:
        raise Refused(f"{page.samplesperpixel} samples a pixel are too few for its colours")
    marks = [int(mark) for mark in page.extrasamples or ()]
    alpha: Alpha | None = None
    # Opacity is the channel after the colours; anywhere else it is kept, and not understood.
    if further and marks[:1] and marks[0] in (_ASSOCIATED, _STRAIGHT):
        alpha = "associated" if marks[0] == _ASSOCIATED else "straight"
    elif further == 1 and not marks and kind in ("grey", "rgb"):
        alpha = "straight"  # what writers mean who leave the tag out
    layout = Layout.of_samples(kind, dtype, bits, alpha, further - (alpha is not None))
    largest = page.tags.valueof(LARGEST_SAMPLE)
    largest = largest[0] if isinstance(largest, tuple) and largest else largest
    top = layout.top
    if top is not None and isinstance(largest, int) and 0 < largest < top and largest & (largest + 1) == 0:
        top = float(largest)
    return Layout(kind, dtype, alpha, layout.extras, photometric == 0, top, bits)


def _check_complete(data: bytes, page: Any) -> None:
    # tifffile fills what is missing with zeros; a strip of no bytes is a sparse file's, one past the end is not.
    for at, size in zip(page.dataoffsets, page.databytecounts, strict=False):
        if at + size > len(data):
            raise Refused("truncated or damaged TIFF: pixels lie past its end")


def _palette(page: Any) -> tuple[np.ndarray, bool]:
    """Return (256, 4) uint8 RGBA entries, and whether they are less than what the file holds."""
    colours = np.asarray(page.colormap)
    is_rounded = False
    if colours.dtype != np.uint8:
        # Some writers store 8 bits in the low bytes of the 16 that are asked for.
        is_deep = colours.max(initial=0) > 255
        # Of 8 bits some writers fill both bytes, others the high one.
        is_rounded = bool(is_deep and (colours % 257).any() and (colours & 255).any())
        colours = (colours >> 8 if is_deep else colours).astype(np.uint8)
    palette = np.full((256, 4), 255, dtype=np.uint8)
    entries = min(colours.shape[1], 256)
    palette[:entries, :3] = colours.T[:entries]
    palette[entries:] = 0
    return palette, is_rounded


def _orientation(page: Any) -> int:
    value = page.tags.valueof(ORIENTATION)
    return int(value) if isinstance(value, int) and value in range(1, 9) else 1
