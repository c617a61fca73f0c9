"""TIFF files written with the tags of the file they came from, at any depth that is read.

Pillow writes no 16-bit colour, and its TIFF encoder drops tags that it does not know. One image directory, strips of
some rows, uncompressed or deflated.

Source: TIFF revision 6.0 (Adobe 1992), sections 2 to 8, 14, 18 and 19.
"""

import io
import zlib

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags

from repaint_batch.images.codec import Picture

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _COLOUR_MAP, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 317, 320, 338, 339
_EXIF, _GPS = 34665, 34853
_UNASSOCIATED_ALPHA = 2
_NONE, _DEFLATE = 1, 8
_STRIP_BYTES = 2**18

NOT_METADATA = frozenset(
    # Sizes, strips, tiles, fill order, fax and JPEG parameters, chroma, pointers to further directories.
    {
        *(254, 255, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _STRIP_OFFSETS, _SAMPLES),
        *(_ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR, 292, 293, _PREDICTOR, _COLOUR_MAP, 322, 323, 324, 325, 330, 332),
        *(_EXTRA_SAMPLES, _SAMPLE_FORMAT, 347, *range(512, 522), 529, 530, 531, 532, _EXIF, _GPS),
    }
)
"""Tags that are facts of the encoding, and written anew."""

_LAYOUTS = {
    # mode: photometric interpretation, samples a pixel, bits, has alpha
    "1": (1, 1, 1, False),
    "L": (1, 1, 8, False),
    "LA": (1, 2, 8, True),
    "LA;16": (1, 2, 16, True),
    "P": (3, 1, 8, False),
    "PA": (3, 2, 8, True),
    "RGB": (2, 3, 8, False),
    "RGBA": (2, 4, 8, True),
    "RGB;16": (2, 3, 16, False),
    "RGBA;16": (2, 4, 16, True),
    "CMYK": (5, 4, 8, False),
    "I;16": (1, 1, 16, False),
    "I;16B": (1, 1, 16, False),
    "I": (1, 1, 32, False),
    "F": (1, 1, 32, False),
}


def encode_like(picture: Picture) -> bytes:
    """Return `picture` as TIFF with the tags and byte order of the file it came from.

    Lossless compressions become deflate, and so does JPEG, which would change known pixels; none stays none.
    """
    source = picture.image.tag_v2 if picture.format == "TIFF" else None  # type: ignore[attr-defined]
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=source.prefix if source is not None else b"II")
    if source is not None:
        _copy_tags(picture.image, source, directory)
    photometric, samples, bits, alpha = _LAYOUTS[picture.mode]
    sample_format = {"I": 2, "F": 3}.get(picture.mode, 1)
    if picture.mode == "I" and source is not None and source.get(_BITS) == (16,):
        bits = 16  # signed 16-bit grey, which Pillow widens
    compression = _NONE if source is not None and source.get(_COMPRESSION, _NONE) == _NONE else _DEFLATE
    predict = compression == _DEFLATE and bits in (8, 16) and not picture.mode.startswith("P")
    order = ">" if directory.prefix == b"MM" else "<"
    dtype = np.dtype(order + {1: "u1", 8: "u1", 16: "u2", 32: "u4"}[bits])
    rows = max(1, _STRIP_BYTES * 8 // (picture.size[0] * samples * bits))
    strips = _strips(picture, rows, dtype, compression, predict)
    values: dict[int, object] = {
        _WIDTH: picture.size[0],
        _LENGTH: picture.size[1],
        _BITS: (bits,) * samples,
        _COMPRESSION: compression,
        _PHOTOMETRIC: photometric,
        _SAMPLES: samples,
        _ROWS_PER_STRIP: rows,
        _STRIP_COUNTS: tuple(len(strip) for strip in strips),
        _STRIP_OFFSETS: tuple(np.cumsum([0] + [len(strip) for strip in strips[:-1]]).tolist()),
        _PLANAR: 1,
        _SAMPLE_FORMAT: (sample_format,) * samples,
    }
    if predict:
        values[_PREDICTOR] = 2
    if alpha:
        values[_EXTRA_SAMPLES] = (_UNASSOCIATED_ALPHA,)
    if picture.mode.startswith("P"):
        values[_COLOUR_MAP] = _colour_map(picture.image)
    for tag, value in values.items():
        if tag in (_STRIP_COUNTS, _STRIP_OFFSETS):
            directory.tagtype[tag] = TiffTags.LONG
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    for strip in strips:
        buffer.write(strip)
    return buffer.getvalue()


def _copy_tags(
    image: Image.Image,
    source: TiffImagePlugin.ImageFileDirectory_v2,
    directory: TiffImagePlugin.ImageFileDirectory_v2,
) -> None:
    for tag in source:
        if tag not in NOT_METADATA:
            directory.tagtype[tag] = source.tagtype[tag]
            directory[tag] = source[tag]
    for tag in (_EXIF, _GPS):
        if tag in source:
            try:
                entries = image.getexif().get_ifd(tag)
            except Exception:  # a corrupt block of camera settings cannot be carried over by its entries
                continue
            if entries:
                directory.tagtype[tag] = TiffTags.LONG
                directory._tags_v2[tag] = dict(entries)


def _strips(picture: Picture, rows: int, dtype: np.dtype, compression: int, predict: bool) -> list[bytes]:
    width, height = picture.size
    strips = []
    for top in range(0, height, rows):
        samples = picture.crop((0, top, width, min(top + rows, height)))
        if picture.mode == "1":
            data = np.packbits(samples, axis=1).tobytes()
        else:
            if predict:
                samples = samples.copy()
                samples[:, 1:] -= samples[:, :-1].copy()
            if picture.mode == "F":
                samples = samples.view(np.uint32)
            data = samples.astype(dtype).tobytes()
        strips.append(zlib.compress(data) if compression == _DEFLATE else data)
    return strips


def _colour_map(image: Image.Image) -> tuple[int, ...]:
    palette = np.zeros((256, 3), dtype=np.int64)
    entries = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    palette[: len(entries)] = entries
    return tuple((palette.T.ravel() * 257).tolist())
