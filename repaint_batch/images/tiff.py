"""TIFF files whose changed strips and tiles are exchanged; every other byte stays where it was, of pixels and of tags.

Strips and tiles keep their arrangement, byte order, predictor and compression. A compression that has no lossless encoder
(JPEG, fax of group 3, ...) becomes deflate for all of them, so that known pixels stay what they were decoded to. Copies of
the picture that would still show what was removed go: smaller pages, previews, Photoshop's layers.

Source: TIFF revision 6.0 (Adobe 1992), sections 2 to 15; Adobe Photoshop TIFF technical notes (2002) for its layers.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repaint_batch.images import exif, photoshop, xmp
from repaint_batch.images.box import Box
from repaint_batch.images.picture import Picture
from repaint_batch.images.tiff_directory import EXIF, GPS, SUB_IFDS, Directory, TiffBytes
from repaint_batch.images.tiff_reading import full_pages, opened

_COMPRESSION, _PHOTOMETRIC, _STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 259, 262, 273, 279, 324, 325
_PREDICTOR, _XMP, _PHOTOSHOP, _LAYERS, _C2PA = 317, 700, 34377, 37724, 52545
_NONE, _DEFLATE, _RGB, _YCBCR = 1, 8, 2, 6
_FACTS_OF_COMPRESSION = (292, 293, 347, *range(512, 522), 529, 530, 531, 532)
"""Tags that speak of a fax or JPEG encoding, and of chroma."""
_COMPRESSIONS = {
    1: "none", 2: "fax", 3: "fax of group 3", 4: "fax of group 4", 6: "JPEG", 7: "JPEG", 34892: "JPEG",
    34887: "LERC", 50001: "WebP",
}


@dataclass(frozen=True)
class _Scheme:
    """How the strips or tiles of a page are encoded."""

    page: Any
    compression: int
    predictor: int
    encode: Callable[[bytes], bytes | bytearray]


def encode_like(pictures: Sequence[tuple[Picture, Sequence[Box]]]) -> tuple[bytes, list[str]]:
    """Return the file that `pictures` are pages of, with their pixels, and names of what it no longer holds.

    Args:
        pictures: pages, and the boxes in each in which pixels have been changed.

    Raises:
        ValueError, struct.error: the file cannot be edited.
    """
    source = pictures[0][0].data
    file = TiffBytes(source)
    pages = file.pages()
    kept = sorted(picture.page for picture, _ in pictures)
    dropped = _without_copies(file, pages, kept)
    for picture, boxes in pictures:
        directory = pages[picture.page]
        if boxes:
            dropped += _exchanged(file, directory, picture, boxes)
        dropped += _without_previews(file, directory)
    return bytes(file.file), list(dict.fromkeys(dropped))


def _without_copies(file: TiffBytes, pages: list[Directory], kept: list[int]) -> list[str]:
    """Take out every page but those in `kept`."""
    dropped = []
    full = full_pages(file, pages)
    held = {place for number in kept for place in _segments(file, pages[number])}
    for number, page in enumerate(pages):
        if number not in kept:
            dropped.append("other pages" if number in full else "smaller copies of the picture")
            _blank_segments(file, page, held)
    for place, number in enumerate(kept):
        following = pages[kept[place + 1]].at if place + 1 < len(kept) else 0
        if pages[number].next != following:
            pages[number].next = following
            file.rewrite(pages[number])
    if kept[0] != 0:
        file.set_first(pages[kept[0]].at)
    return dropped


def _segments(file: TiffBytes, directory: Directory) -> list[tuple[int, int]]:
    offsets = file.numbers(directory, _TILES) or file.numbers(directory, _STRIPS)
    sizes = file.numbers(directory, _TILE_SIZES) or file.numbers(directory, _STRIP_SIZES)
    return list(zip(offsets, sizes, strict=False))


def _blank_segments(file: TiffBytes, directory: Directory, held: set[tuple[int, int]]) -> None:
    for at, size in _segments(file, directory):
        if at and not any(at < start + length and start < at + size for start, length in held):
            file.blank(at, size)


def _without_previews(file: TiffBytes, directory: Directory) -> list[str]:
    """Take out what still shows the picture as it was, or vouches for it."""
    dropped = []
    held = set(_segments(file, directory))
    below = file.numbers(directory, SUB_IFDS)
    if below:
        for at in below:
            try:
                _blank_segments(file, file.directory(at), held)
            except (ValueError, struct.error):
                continue
        file.remove(directory, [SUB_IFDS])
        dropped.append("smaller copies of the picture")
    for tag, name in ((_LAYERS, "Photoshop's layers"), (_C2PA, "C2PA manifest")):
        if tag in directory.entries:
            file.remove(directory, [tag])
            dropped.append(name)
    for tag, edited in ((_PHOTOSHOP, photoshop.without_thumbnail), (_XMP, xmp.without_pictures)):
        entry = directory.entries.get(tag)
        if entry is not None:
            value, names = edited(file.value(entry))
            if names:
                file.set_value(directory, tag, entry.kind, value)
                dropped += names
    for tag in (EXIF, GPS):
        for at in file.numbers(directory, tag):
            if exif.without_embedded(file.file, file.order, at):
                dropped.append("previews in EXIF")
    return dropped


def _exchanged(file: TiffBytes, directory: Directory, picture: Picture, boxes: Sequence[Box]) -> list[str]:
    """Encode the strips or tiles that touch `boxes`, or all of them where their compression must change."""
    page = opened(picture.data, picture.page)
    scheme = _scheme(page)
    dropped = []
    offsets, sizes = (_TILES, _TILE_SIZES) if page.is_tiled else (_STRIPS, _STRIP_SIZES)
    places, lengths = file.numbers(directory, offsets), file.numbers(directory, sizes) or list(page.databytecounts)
    if len(places) != len(lengths):
        raise ValueError("offsets and sizes of strips do not agree")
    segments = _Segments.of(page)
    if len(places) < segments.count:
        raise ValueError("there are fewer strips than rows")
    touched = [number for number in range(segments.count) if any(segments.touches(number, box) for box in boxes)]
    if scheme is None:
        dropped.append(f"{_COMPRESSIONS.get(int(page.compression), 'lossy')} compression (now deflate)")
        scheme, touched = _deflated(file, directory, page), list(range(segments.count))
    held = list(zip(places, lengths, strict=True))
    for number in touched:
        encoded = _encoded(segments.cut(picture.whole(), number), scheme)
        at, size = held[number]
        others = held[:number] + held[number + 1 :]
        shared = any(at < start + length and start < at + size for start, length in others if length)
        if len(encoded) <= size and not shared:
            file.file[at : at + size] = encoded.ljust(size, b"\0")
        else:
            if not shared:
                file.blank(at, size)
            at = file.append(encoded)
        held[number] = places[number], lengths[number] = at, len(encoded)
    if sizes in directory.entries or lengths != list(page.databytecounts):
        file.set_numbers(directory, sizes, lengths)
    file.set_numbers(directory, offsets, places)
    return dropped


@dataclass(frozen=True)
class _Segments:
    """Where the strips or tiles of a page lie."""

    width: int
    height: int
    rows: int
    columns: int
    planes: int
    tiled: bool

    @classmethod
    def of(cls, page: Any) -> "_Segments":
        width, height = int(page.imagewidth), int(page.imagelength)
        planes = int(page.samplesperpixel) if page.planarconfig == 2 else 1
        if page.is_tiled:
            return cls(width, height, int(page.tilelength), int(page.tilewidth), planes, True)
        return cls(width, height, min(int(page.rowsperstrip), height), width, planes, False)

    @property
    def across(self) -> int:
        return -(-self.width // self.columns)

    @property
    def in_plane(self) -> int:
        return self.across * -(-self.height // self.rows)

    @property
    def count(self) -> int:
        return self.in_plane * self.planes

    def box(self, number: int) -> Box:
        row, column = divmod(number % self.in_plane, self.across)
        left, top = column * self.columns, row * self.rows
        return left, top, min(left + self.columns, self.width), min(top + self.rows, self.height)

    def touches(self, number: int, box: Box) -> bool:
        left, top, right, bottom = self.box(number)
        return left < box[2] and box[0] < right and top < box[3] and box[1] < bottom

    def cut(self, samples: np.ndarray, number: int) -> np.ndarray:
        """Return (rows, columns, channels) of one strip or tile; a tile's part outside the picture repeats its edge."""
        left, top, right, bottom = self.box(number)
        part = samples[top:bottom, left:right]
        part = part[..., None] if part.ndim == 2 else part
        if self.planes > 1:
            plane = number // self.in_plane
            part = part[..., plane : plane + 1]
        if self.tiled:
            missing = ((0, self.rows - part.shape[0]), (0, self.columns - part.shape[1]), (0, 0))
            part = np.pad(part, missing, mode="edge")
        return part


def _scheme(page: Any) -> _Scheme | None:
    """Return how a page's strips are encoded; None if nothing encodes them so without loss."""
    import imagecodecs

    compression, predictor = int(page.compression), int(page.predictor)
    encoders: dict[int, Callable[[bytes], bytes | bytearray]] = {
        _NONE: bytes,
        5: imagecodecs.lzw_encode,
        _DEFLATE: _zlib,
        32946: _zlib,
        34925: imagecodecs.lzma_encode,
        50000: imagecodecs.zstd_encode,
    }
    if compression == 32773:
        return _Scheme(page, compression, predictor, bytes) if predictor == 1 else None
    if compression not in encoders or predictor not in (1, 2, 3):
        return None
    return _Scheme(page, compression, predictor, encoders[compression])


def _zlib(data: bytes) -> bytes:
    import zlib

    return zlib.compress(data, 6)


def _deflated(file: TiffBytes, directory: Directory, page: Any) -> _Scheme:
    """Let a directory say deflate, and colours as they are decoded."""
    file.set_numbers(directory, _COMPRESSION, [_DEFLATE])
    if int(page.photometric) == _YCBCR:
        file.set_numbers(directory, _PHOTOMETRIC, [_RGB])
    file.remove(directory, [_PREDICTOR, *_FACTS_OF_COMPRESSION])
    return _Scheme(page, _DEFLATE, 1, _zlib)


def _encoded(samples: np.ndarray, scheme: _Scheme) -> bytes:
    import imagecodecs

    page, bits = scheme.page, scheme.page.bitspersample
    rows = len(samples)
    if scheme.predictor == 3:
        data = np.asarray(imagecodecs.floatpred_encode(np.ascontiguousarray(samples), axis=-2)).tobytes()
    elif bits in (8, 16, 32, 64):
        if scheme.predictor == 2:
            samples = np.asarray(imagecodecs.delta_encode(np.ascontiguousarray(samples), axis=-2))
        data = samples.astype(samples.dtype.newbyteorder(page.parent.byteorder)).tobytes()
    else:
        data = _packed(samples.reshape(rows, -1), bits)
    if scheme.compression == 32773:
        stride = len(data) // rows
        data = b"".join(imagecodecs.packbits_encode(data[at : at + stride]) for at in range(0, len(data), stride))
    else:
        data = bytes(scheme.encode(data))
    if page.fillorder == 2:
        data = bytes(imagecodecs.bitorder_encode(data))
    return data


def _packed(rows: np.ndarray, bits: int) -> bytes:
    """Return rows of samples of `bits` bits each, every row filled up to a whole byte."""
    if bits == 1:
        return np.packbits(rows, axis=1).tobytes()
    places = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    spread = (rows.astype(np.uint16)[..., None] >> places) & 1
    return np.packbits(spread.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


