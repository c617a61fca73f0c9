"""Thumbnails show the picture upright with its hole tinted, whatever the picture's mode."""

import io

import numpy as np
import pytest
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.images.codec import read_picture
from repaint_batch.preflight.contact_sheet import contact_sheet, thumbnail


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def shown(data: bytes, keep_mask: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail(read_picture(data, ImagesConfig()), keep_mask))))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "F"])
def test_the_hole_is_tinted_and_nothing_else(mode: str) -> None:
    grey = Image.fromarray(np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("F") if mode == "F" else grey.convert(mode)
    data = encoded(image, "TIFF" if mode == "F" else "PNG")
    keep_mask = np.ones((40, 50), dtype=bool)
    keep_mask[10:20, 30:40] = False
    plain, tinted = shown(data, np.ones_like(keep_mask)), shown(data, keep_mask)
    assert plain.shape == (40, 50, 3)
    assert ((plain != tinted).any(axis=2) == ~keep_mask).all()
    inside = tinted[~keep_mask].astype(int)
    assert (inside[:, 0] > inside[:, 1] + 50).all(), "magenta"
    if mode not in ("1", "F"):  # of these the first is dithered, the second stretched
        assert np.abs(plain.astype(int) - np.asarray(grey)[..., None]).max() <= 6


def test_a_scratch_of_one_pixel_survives_shrinking_and_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed after a quarter turn clockwise
    data = encoded(Image.new("RGB", (800, 400), "black"), "JPEG", exif=exif)
    keep_mask = np.ones((400, 800), dtype=bool)
    keep_mask[:, 100] = False
    pixels = shown(data, keep_mask)
    assert pixels.shape == (192, 96, 3)
    assert pixels[24].max() > 100
    assert pixels[100:].max() < 10


def test_a_sheet_holds_every_pair_once() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    cells = [(f"folder/\n{'x' * 80}{n}", encoded(Image.new("RGB", (100, 50), c))) for n, c in enumerate(colours)]
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(cells))))
    for colour in colours:
        assert (sheet == colour).all(axis=2).sum() == 5000
    assert np.asarray(Image.open(io.BytesIO(contact_sheet([])))).size
