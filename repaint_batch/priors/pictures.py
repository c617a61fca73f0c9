"""Training pictures: read once from folders, prefixes or Parquet, then drawn as random batches.

Everything is held decoded in memory as uint8: 10,000 pictures at 32 px take 30 MB; crops keep each picture at every
scale, so 20 photographs of 12 megapixels at scales 1, 1/2, 1/4 take about 1 GB.
"""

import io
import posixpath
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.dataset
import torch
from PIL import Image

from repaint_batch.config import TrainConfig
from repaint_batch.errors import ConfigError
from repaint_batch.storage import Storage

PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_SKIN_TONE = re.compile(r"1f3f[b-f]")


def base_name(uri: str) -> str:
    """Return a picture's name without what makes it a variant of another.

    The stem in lower case, without the skin-tone and presentation parts of emoji code points (1f3fb .. 1f3ff, fe0f), so
    that all variants of one emoji are trained on or held out together.
    """
    stem = posixpath.splitext(posixpath.basename(uri))[0].lower()
    parts = [part for part in stem.split("-") if part != "fe0f" and not _SKIN_TONE.fullmatch(part)]
    return "-".join(parts)


def held_out(uri: str, one_in: int) -> bool:
    """Return whether a picture belongs to the held-out split."""
    return zlib.crc32(base_name(uri).encode()) % one_in == 0


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


def read_pictures(config: TrainConfig) -> Iterator[tuple[str, Image.Image]]:
    """Yield (name, picture) of every training picture, held-out ones left aside, in a fixed order."""
    storage = Storage(config.storage)
    for source in config.pictures:
        found = 0
        for name, data in _encoded(source, storage):
            found += 1
            if not held_out(name, config.holdout_one_in):
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


@dataclass(frozen=True)
class WholePictures:
    """Pictures shrunk to the prior's size.

    Attributes:
        pixels: (N, 3, S, S) uint8.
    """

    pixels: torch.Tensor

    def batch(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return (count, 3, S, S) float32 in [-1, 1], drawn with replacement."""
        index = torch.randint(len(self.pixels), (count,), generator=generator)
        return self.pixels[index].float() / 127.5 - 1


@dataclass(frozen=True)
class Crops:
    """Pictures at several scales, from which square crops are taken.

    Attributes:
        pyramids: for every scale, the pictures as (H, W, 3) uint8, each side at least `size_px`.
        size_px: side of a crop.
    """

    pyramids: tuple[tuple[np.ndarray, ...], ...]
    size_px: int

    def batch(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return (count, 3, S, S) float32 in [-1, 1]; scale uniform, picture by area, place uniform, half mirrored."""
        crops = [self._crop(generator) for _ in range(count)]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def _crop(self, generator: torch.Generator) -> np.ndarray:
        def below(bound: int) -> int:
            return int(torch.randint(bound, (1,), generator=generator))

        level = self.pyramids[below(len(self.pyramids))]
        areas = torch.tensor([float(p.shape[0] * p.shape[1]) for p in level])
        picture = level[int(torch.multinomial(areas, 1, generator=generator))]
        top, left = below(picture.shape[0] - self.size_px + 1), below(picture.shape[1] - self.size_px + 1)
        crop = picture[top : top + self.size_px, left : left + self.size_px]
        return crop[:, ::-1] if below(2) else crop


def load_pictures(config: TrainConfig) -> tuple[WholePictures | Crops, int]:
    """Return the training set and the number of pictures in it."""
    size = config.image_size_px
    if config.crops is None:
        whole = [np.asarray(square(image, size)) for _, image in read_pictures(config)]
        return WholePictures(torch.from_numpy(np.stack(whole)).permute(0, 3, 1, 2).contiguous()), len(whole)
    levels: list[list[np.ndarray]] = [[] for _ in config.crops.scales]
    count = 0
    for _, image in read_pictures(config):
        count += 1
        picture = flatten_on_white(image)
        for level, scale in zip(levels, config.crops.scales, strict=True):
            width, height = (max(size, round(side * scale)) for side in picture.size)
            level.append(np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)))
    return Crops(tuple(tuple(level) for level in levels), size), count
