"""Pictures at their full size, of which a reviewer sees pieces; and masks that reviewers have corrected.

What strangers sent is decoded in a child process; what comes back is pixels, and only these are cut and encoded here.
"""

import io
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

from repaint_batch.apart import Call
from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ConfigError, MaskInvalid, WorkerKilled
from repaint_batch.images.box import Box
from repaint_batch.images.codec import read_mask_picture
from repaint_batch.images.sniffing import format_of
from repaint_batch.images.stops import stops
from repaint_batch.images.viewing import view

Rectangle = tuple[int, int, int, int, int]
"""Left, top, width and height in a picture's pixels; and how many of these lie along one pixel of what is shown of it."""
MOST_SIDE_PX = 2048
"""Longer side of the largest piece that is handed out."""


@dataclass(frozen=True, eq=False)
class Whole:
    """A picture at its full size.

    Attributes:
        pixels: (H, W, 3) uint8, upright.
        hole: (H, W / 8) uint8, rows of bits, the highest first, 1 = hole; None where the mask cannot be had.
        stops: boxes around the hole's marks, see `repaint_batch.images.stops`.
        pages: how many the file has; this is the first with a hole.
        sha256: of the file.
    """

    pixels: np.ndarray
    hole: np.ndarray | None
    stops: tuple[Box, ...]
    pages: int
    sha256: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def weight_bytes(self) -> int:
        """Memory that it takes."""
        return self.pixels.nbytes + (0 if self.hole is None else self.hole.nbytes)


def decode_whole(
    apart: Call, source: bytes | None, mask: bytes | None, output: bytes | None, images: ImagesConfig, sha256: str
) -> Whole | None:
    """Return a picture as it came, or, without a `source`, as it was restored; None if it cannot be read.

    Raises:
        SampleError: decoding it has ended the process in which that was tried.
    """
    said, pixels, hole = apart(_decoded, source, mask, output, images)
    if said is None or pixels is None:
        return None
    facts = json.loads(said)
    try:
        width, height, pages = (int(facts[name]) for name in ("width", "height", "pages"))
        found = tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in facts["stops"])
        bits = None if hole is None else np.frombuffer(hole, np.uint8).reshape(height, -(-width // 8))
        return Whole(np.frombuffer(pixels, np.uint8).reshape(height, width, 3), bits, found, pages, sha256)
    except (KeyError, TypeError, ValueError) as error:  # a child that has been taken over writes what it likes
        raise WorkerKilled(f"what decoded {sha256} gave no picture back") from error


def _decoded(
    source: bytes | None, mask: bytes | None, output: bytes | None, images: ImagesConfig
) -> tuple[bytes | None, bytes | None, bytes | None]:
    seen = view(source, mask, output, images)
    shown = seen.before or seen.after
    if shown is None:
        return None, None, None
    hole = None if seen.hole is None or seen.hole.shape != (shown.height, shown.width) else seen.hole
    found = [] if hole is None else stops(hole)
    facts = {"width": shown.width, "height": shown.height, "pages": seen.pages, "stops": found}
    bits = None if hole is None else np.packbits(hole, axis=1).tobytes()
    return json.dumps(facts).encode(), shown.tobytes(), bits


def piece(whole: Whole, rectangle: Rectangle) -> bytes:
    """Return a rectangle of a picture as a PNG, at its full size or, as the mean of squares, at a whole fraction of it.

    Raises:
        ConfigError: it is empty, leaves the picture, or is larger than is handed out.
    """
    left, top, width, height, divisor = rectangle
    is_inside = 0 <= left < left + width <= whole.size[0] and 0 <= top < top + height <= whole.size[1]
    if not (is_inside and 1 <= divisor <= 4096 and max(width, height) <= MOST_SIDE_PX * divisor):
        raise ConfigError(
            f"no piece of {width}x{height} pixels at {left}, {top} by {divisor} is handed out of a picture of "
            f"{whole.size[0]}x{whole.size[1]}: at most {MOST_SIDE_PX} a side, and all of it inside"
        )
    cut = Image.fromarray(whole.pixels[top : top + height, left : left + width])
    return _png(cut.reduce(divisor) if divisor > 1 else cut)


def mask_bits(apart: Call, mask: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return a mask that was drawn for a picture of `size`, as bits like `Whole.hole`.

    Raises:
        SampleError: it is no PNG of one bit and this size, or marks nothing.
    """
    width, height = size
    (bits,) = apart(_drawn, mask, width, height)
    return np.frombuffer(bits or b"", np.uint8).reshape(height, -(-width // 8))


def _drawn(mask: bytes, width: int, height: int) -> tuple[bytes]:
    if format_of(mask) != "PNG":
        raise MaskInvalid("mask: it is no PNG")
    picture = read_mask_picture(mask, ImagesConfig(max_bytes=len(mask), max_pixels=width * height))
    if picture.size != (width, height) or picture.layout.kind != "bilevel":
        raise MaskInvalid(f"mask: it is no PNG of one bit and {width}x{height} pixels")
    hole = picture.whole()
    if not hole.any():
        raise MaskInvalid("mask: it marks nothing, so there would be nothing to restore")
    return (np.packbits(hole, axis=1).tobytes(),)


def mask_png(bits: np.ndarray, width: int) -> bytes:
    """Return bits as a PNG of one bit, white = hole: of one mask always the same."""
    return _png(Image.fromarray(np.unpackbits(bits, axis=1, count=width).astype(bool)))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
