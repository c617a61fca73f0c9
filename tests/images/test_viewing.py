"""What people see of a row is what the job saw of it: its hole, its colours, upright."""

import io
import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.images.restoration import prepare
from repaint_batch.images.viewing import view

from .corpus import photograph, saved

WIDTH, HEIGHT = 60, 44
BOX = (slice(10, 30), slice(5, 25))
"""Rows and columns of the hole, upright."""


def drawn(*, on: int = 0, of: int = 255, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    pixels = np.full(shape, on, np.uint8)
    pixels[BOX] = of
    return pixels


def png(pixels: np.ndarray) -> bytes:
    return saved(Image.fromarray(pixels), "PNG")


def rgba(pixels: np.ndarray, alpha: np.ndarray) -> bytes:
    return png(np.dstack([pixels, pixels, pixels, alpha]))


def palette_png() -> bytes:
    image = Image.fromarray(drawn(of=15))
    image.putpalette([0, 0, 0] * 15 + [192, 128, 128])
    return saved(image, "PNG")


def shapes() -> bytes:
    return json.dumps({"boxes": [[5, 10, 25, 30]]}).encode()


def annotations() -> bytes:
    return json.dumps([{"bbox": [5, 10, 20, 20]}]).encode()


MASKS = {
    "white": (png(drawn()), {}),
    "black": (png(255 - drawn()), {"hole": "black"}),
    "0 and 1": (png(drawn(of=1)), {}),
    "palette": (palette_png(), {}),
    "colour": (png(np.dstack([drawn(of=200), drawn(of=16), drawn(of=32)])), {"hole": "#c81020"}),
    "transparent": (rgba(np.zeros((HEIGHT, WIDTH), np.uint8), 255 - drawn()), {"hole": "transparent"}),
    "brush on a layer": (rgba(drawn(), drawn(of=140)), {}),
    "boxes": (shapes(), {}),
    "annotations": (annotations(), {}),
    "grown": (png(drawn()), {"mask_grow_px": 2}),
}


@pytest.mark.parametrize("orientation", [1, 2, 6, 7])
@pytest.mark.parametrize("kind", MASKS)
def test_the_hole_is_the_one_that_was_restored(kind: str, orientation: int) -> None:
    mask, options = MASKS[kind]
    config = ImagesConfig(**options)
    size = (WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = saved(Image.fromarray(photograph(3)).resize(size), "JPEG", exif=exif)
    hole = view(picture, mask, None, config, 1024).hole
    assert hole is not None
    grown = config.mask_grow_px
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10 - grown : 30 + grown, 5 - grown : 25 + grown] = True
    assert np.array_equal(hole, expected)
    assert hole.mean() == pytest.approx(prepare(picture, mask, config, 32).hole_fraction)


def upright_pixels() -> np.ndarray:
    ramp = np.linspace(0, 255, WIDTH)
    down = np.linspace(0, 255, HEIGHT)[:, None]
    return np.dstack([np.tile(ramp, (HEIGHT, 1)), np.tile(down, (1, WIDTH)), np.full((HEIGHT, WIDTH), 90)])


def tiff(samples: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


def kinds_of_picture() -> dict[str, bytes]:
    rgb = upright_pixels()
    bytes_, deep = rgb.astype(np.uint8), (rgb * 257).astype(np.uint16)
    turned = saved(Image.fromarray(bytes_).transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=turned_exif())
    return {
        "jpeg turned by EXIF": turned,
        "png of 16 bits": cv2.imencode(".png", deep[..., ::-1])[1].tobytes(),
        "tiff of 16 bits in planes": tiff(np.moveaxis(deep, -1, 0), photometric="rgb", planarconfig="separate"),
        "tiff of floats": tiff((rgb / 255 * 7 - 3).astype(np.float32), photometric="rgb"),
        "tiff of CMYK": tiff(np.dstack([255 - bytes_, np.zeros((HEIGHT, WIDTH), np.uint8)]), photometric="separated"),
    }


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("kind", kinds_of_picture())
def test_colours_are_those_the_prior_sees(kind: str) -> None:
    shown = view(kinds_of_picture()[kind], None, None, ImagesConfig(), 1024).before
    assert shown is not None
    assert shown.size == (WIDTH, HEIGHT)
    expected = upright_pixels()
    if "floats" in kind:
        expected = (expected - expected.min()) / np.ptp(expected) * 255
    assert np.abs(np.asarray(shown).astype(float) - expected).mean() < 3


def test_white_is_zero_is_shown_as_it_is_meant() -> None:
    grey = tiff(drawn(on=20, of=250).astype(np.uint16) * 257, photometric="miniswhite")
    shown = np.asarray(view(grey, png(drawn()), grey, ImagesConfig(), 1024).after)
    assert (shown[0, 0] == 235).all()
    assert (shown[12, 12] == 5).all()


def test_a_large_jpeg_is_decoded_at_a_fraction_and_its_mask_whole() -> None:
    large = saved(Image.new("RGB", (4000, 2400)), "JPEG")
    mask = png(drawn(shape=(2400, 4000)))
    seen = view(large, mask, large, ImagesConfig(), 1000)
    assert seen.before is not None
    assert seen.before.size == (2000, 1200)
    assert seen.hole is not None
    assert seen.hole.shape == (2400, 4000)


def test_of_several_pages_the_first_with_a_hole_is_shown() -> None:
    pages = np.stack([np.full((HEIGHT, WIDTH), 30 * n, np.uint8) for n in range(3)])
    masks = np.stack([np.zeros((HEIGHT, WIDTH), np.uint8), drawn(), drawn()])
    config = ImagesConfig(frames="all")
    stack, holes = (tiff(part, photometric="minisblack", volumetric=False) for part in (pages, masks))
    seen = view(stack, holes, stack, config, 1024)
    assert seen.before is not None
    assert (np.asarray(seen.before) == 30).all()
    assert seen.hole is not None
    assert seen.hole.sum() == 400


def test_what_cannot_be_read_is_left_out() -> None:
    picture, mask = png(drawn(on=9)), png(drawn())
    assert view(b"broken", mask, picture, ImagesConfig(), 1024).before is None
    seen = view(None, mask, picture, ImagesConfig(), 1024)
    assert seen.before is None
    assert seen.after is not None
    assert seen.hole is not None
    assert view(picture, b"broken", None, ImagesConfig(), 1024).hole is None
