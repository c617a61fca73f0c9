"""Training pictures: read once from folders, prefixes or Parquet, then drawn as random batches.

Everything is held decoded as uint8 on the training's device: 10,000 pictures at 32 px take 30 MB; crops keep each picture at
every scale, so 20 photographs of 12 megapixels at scales 1, 1/2, 1/4 take about 1 GB. Batches are drawn and cut there too.
"""

import fnmatch
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import pyarrow.dataset
import torch
from PIL import Image

from repaint_batch.errors import ConfigError
from repaint_batch.priors.looks import aged
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.storage import Storage

Split = Literal["train", "held-out"]
PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_SKIN_TONE = re.compile(r"1f3f[b-f]")
_CROP = re.compile(r"\.native\d*$")


def base_name(uri: str) -> str:
    """Return a picture's name without what makes it a variant of another.

    The stem in lower case, without the skin-tone and presentation parts of emoji code points (1f3fb .. 1f3ff, fe0f) and without
    the `.native0` of a crop, so that all variants of one picture are trained on or held out together.
    """
    stem = _CROP.sub("", posixpath.splitext(posixpath.basename(uri))[0].lower())
    parts = [part for part in stem.split("-") if part != "fe0f" and not _SKIN_TONE.fullmatch(part)]
    return "-".join(parts)


def held_out(uri: str, one_in: int | None, patterns: tuple[str, ...] = ()) -> bool:
    """Return whether a picture belongs to the held-out split: its base name matches, or has a crc32 divisible by `one_in`."""
    name = base_name(uri)
    return _matches(name, patterns) or (one_in is not None and zlib.crc32(name.encode()) % one_in == 0)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in patterns)


def flatten_on_white(image: Image.Image) -> Image.Image:
    """Return `image` as RGB, transparent parts white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size_px: int) -> Image.Image:
    """Return `image` shrunk or grown to fit a white square of `size_px`."""
    image = flatten_on_white(image)
    side = max(image.size)
    if image.size != (side, side):
        canvas = Image.new("RGB", (side, side), "white")
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = canvas
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS)


def read_pictures(config: TrainConfig, split: Split = "train") -> Iterator[tuple[str, Image.Image]]:
    """Yield (name, picture) of every picture of one split, in a fixed order.

    Raises:
        ConfigError: a source holds no picture.
    """
    storage = Storage(config.storage)
    for source in config.pictures:
        found = 0
        for name, data in _encoded(source, storage):
            found += 1
            if _matches(base_name(name), config.leave_out):
                continue
            if held_out(name, config.holdout_one_in, config.held_out) == (split == "held-out"):
                yield name, Image.open(io.BytesIO(data))
        if not found:
            raise ConfigError(f"pictures: {source} holds no picture ({', '.join(PICTURE_SUFFIXES)} or Parquet)")


def _encoded(source: str, storage: Storage) -> Iterator[tuple[str, bytes]]:
    for uri, _ in storage.list(source):
        if uri.lower().endswith(PICTURE_SUFFIXES):
            yield uri, storage.read(uri)
        elif uri.lower().endswith(".parquet"):
            filesystem, path = storage.arrow(uri)
            dataset = pyarrow.dataset.dataset(path, filesystem=filesystem)
            row = 0
            for batch in dataset.to_batches(columns=["image"], batch_size=256):
                for value in batch.column("image").to_pylist():
                    data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
                    yield name or f"{uri}-{row}", data or storage.read(str(name))
                    row += 1


class Pictures(Protocol):
    """Pictures that batches are drawn from."""

    def batch(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return (count, 3, S, S) float32 in [-1, 1], drawn with replacement; `generator` is of the pictures' device."""


@dataclass(frozen=True, eq=False)
class WholePictures:
    """Pictures of the prior's own size.

    Attributes:
        pixels: (N, 3, S, S) uint8.
    """

    pixels: torch.Tensor

    def batch(self, count: int, generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(self.pixels), (count,), generator=generator, device=self.pixels.device)
        return self.pixels[index].float() / 127.5 - 1


@dataclass(frozen=True, eq=False)
class Crops:
    """Pictures at several scales, from which squares are cut: scale uniform, picture by area, place uniform, half mirrored.

    Attributes:
        pixels: (P, 3) uint8, all pictures at all scales one after the other.
        start: (N,) int64, where each begins.
        height, width: (N,) int64.
        share: (N,) float32, how often each is drawn.
        size_px: S, side of a crop.
        aged: give crops the looks of archives.
    """

    pixels: torch.Tensor
    start: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor
    share: torch.Tensor
    size_px: int
    aged: bool

    @classmethod
    def of(cls, levels: Sequence[Sequence[np.ndarray]], size_px: int, aged: bool, device: torch.device) -> "Crops":
        """Return crops of the pictures (H, W, 3) uint8 of every scale, each side at least `size_px`."""
        pictures = [picture for level in levels for picture in level]
        areas = [np.array([picture.size for picture in level], np.float64) for level in levels]
        start = np.cumsum([0, *(picture.size // 3 for picture in pictures)])[:-1]
        height, width = np.array([picture.shape[:2] for picture in pictures]).T
        pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures])
        share = np.concatenate([area / area.sum() for area in areas]).astype(np.float32)
        tensors = [torch.from_numpy(array.copy()).to(device) for array in (pixels, start, height, width, share)]
        return cls(tensors[0], tensors[1], tensors[2], tensors[3], tensors[4], size_px, aged)

    def batch(self, count: int, generator: torch.Generator) -> torch.Tensor:
        device = self.pixels.device
        at = torch.arange(self.size_px, device=device)
        picture = torch.multinomial(self.share, count, replacement=True, generator=generator)
        down, right, mirrored = torch.rand((3, count), generator=generator, device=device, dtype=torch.float64)
        top = (down * (self.height[picture] - self.size_px + 1)).long()
        left = (right * (self.width[picture] - self.size_px + 1)).long()
        column = torch.where(mirrored[:, None] < 0.5, at, at.flip(0)) + left[:, None]
        row = at + top[:, None]
        index = self.start[picture][:, None, None] + row[:, :, None] * self.width[picture][:, None, None] + column[:, None]
        crops = self.pixels[index].movedim(-1, 1).float() / 127.5 - 1
        return aged(crops, generator) if self.aged else crops


def load_pictures(
    config: TrainConfig, split: Split = "train", device: torch.device | str = "cpu"
) -> tuple[Pictures, int]:
    """Return the pictures of one split on `device`, and how many there are.

    Raises:
        ConfigError: there are none.
    """
    size, device = config.image_size_px, torch.device(device)
    found = [flatten_on_white(image) if config.crops else square(image, size) for _, image in read_pictures(config, split)]
    if not found:
        raise ConfigError(f"pictures: every picture is left out of the {split} split; see held_out and holdout_one_in")
    if config.crops is None:
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in found]))
        return WholePictures(pixels.permute(0, 3, 1, 2).contiguous().to(device)), len(found)
    levels = [[_shrunk(image, scale, size) for image in found] for scale in config.crops.scales]
    return Crops.of(levels, size, config.crops.aged, device), len(found)


def _shrunk(image: Image.Image, scale: float, least_px: int) -> np.ndarray:
    width, height = (max(least_px, round(side * scale)) for side in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
