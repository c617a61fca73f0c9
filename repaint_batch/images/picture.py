"""A decoded picture, held as Pillow holds it where that is enough, and as an array of samples where it is not."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from PIL import Image

from repaint_batch.images.box import Box
from repaint_batch.images.layout import Layout

_STRIP_ROWS = 128


class Placed(Protocol):
    """What a mask has to fit."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""

    @property
    def orientation(self) -> int:
        """EXIF orientation, 1 to 8."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""


@dataclass(frozen=True)
class Extent:
    """Size and orientation of a picture, whose pixels may be elsewhere, or fewer.

    Attributes:
        size: width and height in pixels, as stored.
        orientation: EXIF orientation, 1 to 8.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""
        width, height = self.size
        return (height, width) if self.orientation >= 5 else (width, height)


@dataclass(eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: a Pillow image, or (H, W) or (H, W, C) samples.
        layout: what the samples mean.
        format: Pillow's name of the format.
        orientation: EXIF orientation, 1 to 8; the pixels are as stored, before it is applied.
        data: the encoded bytes.
        palette: (N, 4) uint8 RGBA entries, where samples are numbers of entries.
        palette_is_rounded: whether the file's entries have more than 8 bits.
        icc: the colour profile; empty: none.
        page: which of the file's pages this is.
        pages: how many there are.
    """

    pixels: Image.Image | np.ndarray
    layout: Layout
    format: str
    orientation: int
    data: bytes = field(repr=False)
    palette: np.ndarray | None = None
    palette_is_rounded: bool = False
    icc: bytes = b""
    page: int = 0
    pages: int = 1

    @property
    def mode(self) -> str:
        """Name of the layout."""
        return self.layout.mode

    @property
    def depth(self) -> int:
        """Bits a sample in the file."""
        return self.layout.depth

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.size
        return (self.pixels.shape[1], self.pixels.shape[0])

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""
        return Extent(self.size, self.orientation).upright_size

    @property
    def image(self) -> Image.Image:
        """The pixels as Pillow holds them; of what it has no mode for, 8 bits of grey or colours, with their opacity."""
        return self.pixels if isinstance(self.pixels, Image.Image) else _shown(self.pixels, self.layout, self.palette)

    def crop(self, box: Box) -> np.ndarray:
        """Return the samples in `box`: (h, w) or (h, w, C), of the layout's dtype."""
        if isinstance(self.pixels, Image.Image):
            return np.asarray(self.pixels.crop(box))
        return self.pixels[box[1] : box[3], box[0] : box[2]]

    def put(self, box: Box, samples: np.ndarray) -> None:
        """Write `samples`, as `crop` gives them, into `box`."""
        if not isinstance(self.pixels, Image.Image):
            self.pixels[box[1] : box[3], box[0] : box[2]] = samples
            return
        if self.layout.kind == "bilevel":
            patch = Image.fromarray(np.ascontiguousarray(samples))
        else:
            patch = Image.frombytes(self.pixels.mode, (box[2] - box[0], box[3] - box[1]), samples.tobytes())
        self.pixels.paste(patch, box)

    def turn_positive(self) -> None:
        """Let the largest sample be white, where 0 was."""
        if not self.layout.inverted or isinstance(self.pixels, Image.Image):
            return
        if self.layout.kind == "bilevel":
            self.pixels = ~self.pixels
        else:
            top = self.layout.top if self.layout.top is not None else 0
            self.pixels = (np.asarray(top, dtype=self.pixels.dtype) - self.pixels).astype(self.pixels.dtype)
        self.layout = replace(self.layout, inverted=False)

    def whole(self) -> np.ndarray:
        """Return all samples."""
        return self.crop((0, 0, *self.size))

    def strips(self) -> list[Box]:
        """Return boxes that cover the picture in strips of some rows."""
        width, height = self.size
        return [(0, top, width, min(top + _STRIP_ROWS, height)) for top in range(0, height, _STRIP_ROWS)]


def _shown(samples: np.ndarray, layout: Layout, palette: np.ndarray | None) -> Image.Image:
    if layout.kind == "bilevel":
        return Image.fromarray(samples != layout.inverted)
    if palette is not None:
        numbers = samples if samples.ndim == 2 else samples[..., 0]
        if (palette[numbers][..., 3] == 255).all():
            image = Image.fromarray(np.ascontiguousarray(numbers))
            image.putpalette(palette[:, :3].tobytes())
            return image
        return Image.fromarray(palette[numbers])
    if layout.is_plain and layout.alpha != "associated" and layout.top == 255 and layout.kind in ("grey", "rgb"):
        return Image.fromarray(np.ascontiguousarray(samples))
    if layout.is_plain and layout.kind == "cmyk" and layout.alpha is None:
        return Image.frombytes("CMYK", samples.shape[1::-1], samples.tobytes())
    if samples.ndim == 2:
        samples = samples[..., None]
    colours = samples[..., : min(layout.colours, 3)].astype(np.float32)
    low, top = (0.0, layout.top) if layout.top is not None else (float(np.nanmin(colours)), float(np.nanmax(colours)))
    light = np.clip(np.nan_to_num((colours - low) / (top - low or 1.0)), 0, 1)
    if layout.kind == "cmyk":
        black = np.clip(samples[..., 3:4].astype(np.float32) / np.float32(top), 0, 1)
        light = (1 - light) * (1 - black)
    elif layout.inverted:
        light = 1 - light
    bands = [light]
    if layout.alpha is not None:
        opacity = samples[..., layout.colours, None].astype(np.float32) / np.float32(layout.full_alpha)
        bands.append(np.clip(opacity, 0, 1))
    pixels = np.rint(np.concatenate(bands, axis=-1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
