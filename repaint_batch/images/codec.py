"""Strangers' bytes to pixels, at the depth they were stored in.

Nothing is decoded before its size in bytes, its format and its size in pixels have been looked at; formats outside the
list, animations, truncated files and modes that cannot be written back are refused with a reason.

Pillow opens colour PNG and TIFF of 16 bits a sample but hands out the high bytes only. The low bytes are fetched by a
second decoding of the same file, told that its samples have the other byte order: the same unpacker then picks the
other byte. So the whole range of depths needs no library besides Pillow.
"""

import io
import sys
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, MaskInvalid
from repaint_batch.images.jpeg import is_luma_chroma

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
"""Formats that are read; everything else is refused before any of its code runs."""

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr", "CMYK", "I;16", "I;16B", "I", "F")
"""Pillow modes whose pixels can be given to a prior and written back."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the picture as stored; right and bottom are outside."""

Refusal = type[ImageInvalid | MaskInvalid]

_ORIENTATION_TAG = 0x0112
_TO_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_STRIP_ROWS = 128
_KEPT_BLOCKS = 16
"""Blocks of 16 MiB that Pillow keeps for the next picture: enough for three of 20 megapixels."""
_PNG_DEPTH_AT = 24

# By default Pillow hands the memory of every picture back to the system; to be given it again, page by page, takes a fifth
# of the time in which a large JPEG is composed.
Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]


@dataclass(eq=False)
class Picture:
    """A decoded picture, held as Pillow holds it.

    Attributes:
        image: the pixels, or the high bytes of 16-bit colour.
        low: the low bytes of 16-bit RGB and RGBA; None for everything else.
        mode: Pillow's mode, or ``RGB;16``, ``RGBA;16``, ``LA;16``, which Pillow lacks.
        format: one of `FORMATS`.
        depth: bits a sample in the file.
        orientation: EXIF orientation, 1 to 8; the pixels are as stored, before it is applied.
        data: the encoded bytes.
    """

    image: Image.Image
    low: Image.Image | None
    mode: str
    format: str
    depth: int
    orientation: int
    data: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return self.image.size

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""
        width, height = self.image.size
        return (height, width) if self.orientation >= 5 else (width, height)

    def crop(self, box: Box) -> np.ndarray:
        """Return the samples in `box`: (h, w) or (h, w, C), of the picture's own dtype."""
        high = np.asarray(self.image.crop(box))
        if self.low is not None:
            return np.asarray((high.astype(np.uint16) << 8) | np.asarray(self.low.crop(box)))
        if self.mode == "LA;16":
            return np.ascontiguousarray(high).view(">u2").astype(np.uint16)
        return high

    def put(self, box: Box, samples: np.ndarray) -> None:
        """Write `samples`, as `crop` gives them, into `box`."""
        if self.low is not None:
            self.low.paste(Image.fromarray((samples & 0xFF).astype(np.uint8), self.low.mode), box)
            samples = (samples >> 8).astype(np.uint8)
        elif self.mode == "LA;16":
            samples = np.ascontiguousarray(samples.astype(">u2")).view(np.uint8)
        if self.mode == "1":
            patch = Image.fromarray(np.ascontiguousarray(samples))
        else:
            patch = Image.frombytes(self.image.mode, (box[2] - box[0], box[3] - box[1]), _raw(samples, self.image.mode))
        self.image.paste(patch, box)

    def strips(self) -> list[Box]:
        """Return boxes that cover the picture in strips of some rows."""
        width, height = self.size
        return [(0, top, width, min(top + _STRIP_ROWS, height)) for top in range(0, height, _STRIP_ROWS)]


def _raw(samples: np.ndarray, mode: str) -> bytes:
    dtype = {"I;16": np.dtype("<u2"), "I;16B": np.dtype(">u2")}.get(mode, samples.dtype)
    return samples.astype(dtype).tobytes()


def read_picture(data: bytes, config: ImagesConfig, *, as_coded: bool = False) -> Picture:
    """Return the picture in `data`.

    Args:
        data: encoded picture.
        config: caps, and what to do about animations.
        as_coded: hand out a colour JPEG as the luma and chroma that it stores, mode YCbCr, and not as RGB.

    Raises:
        ImageInvalid: bytes over the caps, of another format, truncated, animated, or of a mode that cannot be kept.
    """
    return _read(data, config, ImageInvalid, "picture", as_coded)


def read_mask_picture(data: bytes, config: ImagesConfig) -> Picture:
    """Return the picture in `data`, faults named as the mask's.

    Raises:
        MaskInvalid: as `read_picture` raises ImageInvalid.
    """
    return _read(data, config, MaskInvalid, "mask")


def _read(data: bytes, config: ImagesConfig, refusal: Refusal, what: str, as_coded: bool = False) -> Picture:
    check_bytes(data, config, refusal, what)
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of large pictures; the first is kept as it is, the second has its own cap.
        warnings.simplefilter("ignore")
        image = _open(data, refusal, what)
        _check_size(image, config, refusal, what)
        _check_frames(image, config, refusal, what)
        if as_coded and _format(image) == "JPEG" and is_luma_chroma(image):
            image.draft("YCbCr", None)
        mode = _mode(image, refusal, what)
        low = _low_bytes(data, image, mode) if mode in ("RGB;16", "RGBA;16") else None
        if mode == "LA;16":
            _retarget(image, "RGBA")
        tiff_orientation = image.tag_v2.get(_ORIENTATION_TAG) if image.format == "TIFF" else None  # type: ignore[attr-defined]
        for half in (image, low):
            if half is not None:
                _load(half, data, refusal, what)
                if tiff_orientation is not None:
                    _turn_back(half, tiff_orientation)
        orientation = _orientation(image)
    return Picture(image, low, mode, _format(image), _depth(image, mode, data), orientation, data)


def check_bytes(data: bytes, config: ImagesConfig, refusal: Refusal, what: str) -> None:
    """Raise `refusal` if there are no bytes or more than the config allows."""
    if not data:
        raise refusal(f"{what}: zero bytes; the object is empty")
    if len(data) > config.max_bytes:
        raise refusal(f"{what}: {len(data)} bytes, more than the {config.max_bytes} that images.max_bytes allows")


def _open(data: bytes, refusal: Refusal, what: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise refusal(f"{what}: {error}; it is not decoded") from error
    except UnidentifiedImageError as error:
        raise refusal(f"{what}: {_describe(data)}; {', '.join(FORMATS)} are read") from error
    except Exception as error:  # Pillow's plugins raise whatever broken headers provoke
        raise refusal(f"{what}: its header cannot be read ({type(error).__name__}: {error})") from error


def _describe(data: bytes) -> str:
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "is an HTML page, perhaps an error that was saved in place of the picture"
    if head.startswith((b"<?xml", b"<svg")):
        return "is XML or SVG, not pixels"
    return f"is no picture in a known format (it starts with {data[:12]!r})"


def _check_size(image: Image.Image, config: ImagesConfig, refusal: Refusal, what: str) -> None:
    pixels = image.width * image.height
    if pixels > config.max_pixels:
        raise refusal(
            f"{what}: {image.width}x{image.height} is {pixels} pixels, "
            f"more than the {config.max_pixels} that images.max_pixels allows; it is not decoded"
        )
    if not pixels:
        raise refusal(f"{what}: {image.width}x{image.height} holds no pixel")


def _check_frames(image: Image.Image, config: ImagesConfig, refusal: Refusal, what: str) -> None:
    # A JPEG's further "frames" are previews and gain maps of the same photograph, not an animation.
    if config.frames == "first" or _format(image) == "JPEG":
        return
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception as error:
        raise refusal(f"{what}: its frames cannot be counted ({error})") from error
    if animated:
        raise refusal(f"{what}: has several frames; set images.frames to first to restore the first and drop the rest")


def _format(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)


def _mode(image: Image.Image, refusal: Refusal, what: str) -> str:
    """Return the mode, looking through Pillow's cut of 16-bit colour to 8 bits."""
    rawmodes = {_rawmode(tile) for tile in image.tile} if hasattr(image, "tile") else set()
    if any(";16" in raw for raw in rawmodes) and not image.mode.startswith("I"):
        if rawmodes <= {"RGB;16B", "RGB;16L", "RGB;16N", "RGBA;16B", "RGBA;16L", "RGBA;16N"}:
            return f"{image.mode};16"
        if rawmodes == {"LA;16B"}:
            return "LA;16"
        kinds = ", ".join(sorted(rawmodes))
        raise refusal(f"{what}: 16 bits a sample as {kinds} cannot be kept; store it as RGB, RGBA or grey")
    if image.mode not in MODES:
        raise refusal(f"{what}: pixels of mode {image.mode} are not restored; convert it to one of {', '.join(MODES)}")
    return image.mode


def _rawmode(tile: object) -> str:
    args = getattr(tile, "args", "")
    return str(args[0] if isinstance(args, tuple) and args else args)


def _retarget(image: Image.Image, rawmode: str) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile  # type: ignore[attr-defined]
    ]


def _low_bytes(data: bytes, image: Image.Image, mode: str) -> Image.Image:
    low = Image.open(io.BytesIO(data), formats=FORMATS)
    order = _rawmode(image.tile[0])[-1]  # type: ignore[attr-defined]
    native = "L" if sys.byteorder == "little" else "B"
    other = {"B": "L", "L": "B"}[native if order == "N" else order]
    _retarget(low, f"{mode}{other}")
    return low


def _load(image: Image.Image, data: bytes, refusal: Refusal, what: str) -> None:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        raise refusal(f"{what}: truncated or damaged {_format(image)} ({error})") from error
    if image.format == "PNG" and b"IEND" not in data:
        raise refusal(f"{what}: truncated PNG (its end is missing)")


def _turn_back(image: Image.Image, orientation: int) -> None:
    """Undo what Pillow does to TIFFs only: turning them upright as they are loaded, and forgetting the tag."""
    if orientation in _TO_STORED:
        turned = image.transpose(_TO_STORED[orientation])
        image.im = turned.im
        image._size = turned.size
    image.tag_v2[_ORIENTATION_TAG] = orientation  # type: ignore[attr-defined]


def _depth(image: Image.Image, mode: str, data: bytes) -> int:
    if mode == "1":
        return 1
    if mode in ("I", "F"):
        return 32
    if "16" in mode:
        return 16
    # Grey and palette PNGs may have fewer bits a sample than the bytes they are decoded to.
    return data[_PNG_DEPTH_AT] if image.format == "PNG" else 8


def _orientation(image: Image.Image) -> int:
    try:
        tags = image.tag_v2 if image.format == "TIFF" else image.getexif()  # type: ignore[attr-defined]
        value = tags.get(_ORIENTATION_TAG, 1)
    except Exception:  # a corrupt EXIF block is kept as it is and says nothing about orientation
        return 1
    return int(value) if value in range(1, 9) else 1
