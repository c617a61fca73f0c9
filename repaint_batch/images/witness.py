"""Proof that known pixels are what they were, by a reader that is not the library which wrote them.

Source and result are both read by the witness of their format (see `repaint_batch.images.formats`), so that what our reader
and our writer get wrong alike is seen all the same.
"""

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from repaint_batch.errors import ImageInvalid
from repaint_batch.images.formats import FORMATS
from repaint_batch.images.picture import Picture
from repaint_batch.images.sniffing import format_of
from repaint_batch.images.tiff_directory import TiffBytes

_BITS, _PHOTOMETRIC, _COLOUR_MAP, _PLANAR = 258, 262, 320, 284
_MEANING = (_BITS, _COLOUR_MAP, 338, 339, 281)
"""TIFF's tags, beside the kind of colours, that say what samples mean: bits, palette, further samples, type, largest."""
_INVERTED, _PLAIN, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_READ_BY_ONE = ("JXL", "HEIF")
"""Formats of which no two libraries decode lossy files alike."""
_ROWS = 32


def largest_known_difference(picture: Picture, keep_mask: np.ndarray, data: bytes, page: int = 0) -> float:
    """Return the largest difference of a known sample between a picture's file and `data`, as the witness reads both.

    Args:
        picture: what `data` was encoded from; its file is read once more, and of its pixels none but the known ones of
            formats that only one library reads are looked at.
        keep_mask: (H, W) bool, True = known pixel.
        data: the encoded picture.
        page: which of its pages is compared with the picture's.

    Returns:
        In steps of the source's depth; infinity where size, type or meaning of the samples differ.

    Raises:
        ImageInvalid: the witness cannot read one of them.
    """
    written = format_of(data)
    if written is None:
        return float("inf")
    if written == picture.format:
        if written == "TIFF" and _tiff_meaning(picture.data, picture.page) != _tiff_meaning(data, page):
            return float("inf")
        ours = picture.whole() if written in _READ_BY_ONE else seen(picture.data, picture.format, picture.page)
        theirs = seen(data, written, page)
    else:
        ours = _wide(picture.whole()) if picture.format in _READ_BY_ONE else _shown(picture.data, picture.format, picture.page)
        theirs = _shown(data, written, page)
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return float("inf")
    # Two formats are compared in 16 bits.
    wider = 257 if written != picture.format and picture.depth <= 8 else 1
    return _largest(ours, theirs, keep_mask) / wider


def check_agrees(picture: Picture) -> None:
    """Check that the witness reads the samples of a picture as its reader did, where they are more than 8 bits of colours.

    Raises:
        ImageInvalid: it does not, so that nothing could be proven later.
    """
    if isinstance(picture.pixels, Image.Image) or picture.format in _READ_BY_ONE:
        return
    theirs, ours = seen(picture.data, picture.format, picture.page), picture.pixels
    if picture.format == "PNG" and theirs.ndim == 3:
        # Where one colour is declared transparent libpng adds opacity.
        theirs = theirs[..., : picture.layout.samples] if picture.layout.samples > 1 else theirs[..., 0]
    if ours.shape != theirs.shape or not np.array_equal(_comparable(ours), _comparable(theirs)):
        libraries = FORMATS[picture.format]
        raise ImageInvalid(
            f"picture: {libraries.testifies} reads other samples ({theirs.dtype} {theirs.shape}) in it than "
            f"{libraries.reads} ({ours.dtype} {ours.shape}), so that nothing can be proven; convert it to a plain TIFF or PNG"
        )


def seen(data: bytes, format: str, page: int = 0) -> np.ndarray:
    """Return (H, W) or (H, W, C) samples as the witness of a format reads them.

    Raises:
        ImageInvalid: it cannot.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if format == "TIFF":
                return _tiff(data, page)
            return np.asarray(_WITNESSES[format](data))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like
        raise ImageInvalid(
            f"picture: {FORMATS[format].testifies}, which has to testify that known pixels are kept, cannot read it ({error})"
        ) from error


def _tiff(data: bytes, page: int) -> np.ndarray:
    import imagecodecs

    file = TiffBytes(data)
    directory = file.pages()[page]
    colours = file.numbers(directory, _PHOTOMETRIC)
    if colours in ([_CMYK], [_LAB]):
        # libtiff's binding hands out such colours as RGB; the samples themselves, if they are called grey.
        file.set_numbers(directory, _PHOTOMETRIC, [_PLAIN])
        data = bytes(file.file)
    samples = np.asarray(imagecodecs.tiff_decode(data, index=page))
    planes = file.numbers(directory, 277)
    if file.numbers(directory, _PLANAR) == [2] and planes and planes[0] > 1 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    return samples[..., 0] if samples.ndim == 3 and samples.shape[2] == 1 else samples


def _tiff_meaning(data: bytes, page: int) -> list[list[int] | bytes]:
    try:
        file = TiffBytes(data)
        directory = file.pages()[page]
    except (ValueError, struct.error, IndexError, KeyError):
        return []
    entries = [directory.entries.get(tag) for tag in _MEANING]
    # Luma and chroma are compressed as JPEG, and become the RGB that they are decoded to.
    colours = [_RGB if number == _YCBCR else number for number in file.numbers(directory, _PHOTOMETRIC)]
    return [colours, *(file.value(entry) if entry is not None else b"" for entry in entries)]


def _png(data: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(data))


def _jpeg(data: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg8_decode(data))


def _webp(data: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.webp_decode(data))


def _gif(data: bytes) -> np.ndarray:
    import imagecodecs

    return np.asarray(imagecodecs.gif_decode(data, index=0))


def _bmp(data: bytes) -> np.ndarray:
    return _by_pillow(data, "BMP")


def _jpeg2000(data: bytes) -> np.ndarray:
    return _by_pillow(data, "JPEG2000")


def _jxl(data: bytes) -> np.ndarray:
    from repaint_batch.images import jxl

    return jxl.decoded(data)[1]


def _avif(data: bytes) -> np.ndarray:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data), formats=["AVIF"]))
    return np.asarray(upright)


def _heif(data: bytes) -> np.ndarray:
    from repaint_batch.images import heif

    return heif.proof_of_heic(data)


def _by_pillow(data: bytes, format: str) -> np.ndarray:
    image = Image.open(io.BytesIO(data), formats=[format])
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


_WITNESSES: dict[str, Callable[[bytes], np.ndarray]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
    "JPEG2000": _jpeg2000,
    "JXL": _jxl,
    "AVIF": _avif,
    "HEIF": _heif,
}


def _shown(data: bytes, format: str, page: int) -> np.ndarray:
    """Return (H, W, 4) uint16 RGBA of grey, colours or a palette in 8 or 16 bits, to compare two formats."""
    samples = seen(data, format, page)
    if format == "TIFF":
        samples = _interpreted(samples, data, page)
    return _wide(samples)


def _wide(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == bool:
        samples = samples.astype(np.uint8) * np.uint8(255)
    wide = samples.astype(np.uint16) * np.uint16(257) if samples.dtype == np.uint8 else samples
    wide = wide[..., None] if wide.ndim == 2 else wide
    if wide.shape[2] in (1, 2):
        wide = np.concatenate([wide[..., :1]] * 3 + [wide[..., 1:]], axis=-1)
    if wide.shape[2] == 3:
        wide = np.concatenate([wide, np.full((*wide.shape[:2], 1), 65535, np.uint16)], axis=-1)
    return wide


def _interpreted(samples: np.ndarray, data: bytes, page: int) -> np.ndarray:
    file = TiffBytes(data)
    directory = file.pages()[page]
    colours = file.numbers(directory, _PHOTOMETRIC)
    if colours == [_INVERTED]:
        return ~samples
    if colours == [_PALETTE]:
        entries = np.array(file.numbers(directory, _COLOUR_MAP)).reshape(3, -1).T
        return np.asarray((entries >> 8 if entries.max() > 255 else entries).astype(np.uint8)[samples])
    return samples


def _comparable(samples: np.ndarray) -> np.ndarray:
    # Floats are compared as their bits, so that NaN equals itself.
    samples = samples.view(np.uint8) if samples.dtype == bool else samples
    return samples.view(f"u{samples.dtype.itemsize}") if samples.dtype.kind == "f" else samples


def _largest(ours: np.ndarray, theirs: np.ndarray, keep_mask: np.ndarray) -> float:
    largest = 0.0
    for top in range(0, len(ours), _ROWS):
        mine, other = ours[top : top + _ROWS], theirs[top : top + _ROWS]
        known = keep_mask[top : top + _ROWS]
        if mine.dtype == np.uint8:
            steps = np.maximum(mine, other)
            steps -= np.minimum(mine, other)
            if not known.all():
                steps[~known] = 0
            largest = max(largest, float(steps.max()))
            continue
        differs = _comparable(mine) != _comparable(other)
        if not differs.any():
            continue
        differs &= known if differs.ndim == 2 else known[..., None]
        if differs.any():
            steps = np.abs(mine[differs].astype(np.float64) - other[differs].astype(np.float64))
            # Zeros of two signs, and NaN, have no distance and are not the same.
            largest = max(largest, float(np.nan_to_num(steps, nan=np.inf).max()) or np.inf)
    return largest
