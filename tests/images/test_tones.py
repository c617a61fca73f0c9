"""Fillings keep to the tones around them, and colourful places stay as they are."""

import io
from importlib.resources import files

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.images.colour import LUMA
from repaint_batch.images.restoration import compose, prepare
from repaint_batch.images.tones import Tones

from .corpus import saved

SEPIA = np.array([0.16, 0.0, -0.2], np.float32)


def toned(luma: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return (H, W, 3) a sepia print, its colour deepest in mid tones, with a little noise in every channel."""
    tone = SEPIA - SEPIA @ LUMA
    rgb = luma[..., None] + (1 - luma[..., None] ** 2) * tone
    return np.clip(rgb + rng.normal(0, noise, rgb.shape), -1, 1).astype(np.float32)


def ramp(height: int = 96, width: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return (0.8 * np.sin(rows / 9) * np.cos(columns / 13)).astype(np.float32)


@pytest.fixture(scope="module")
def hole() -> np.ndarray:
    mask = np.zeros((96, 96), bool)
    mask[40:56, 40:60] = True
    return mask


@given(seed=st.integers(0, 2**16), noise=st.floats(0, 0.05))
@settings(max_examples=30, deadline=None)
def test_specks_of_colour_in_a_toned_print_vanish_and_light_stays(hole: np.ndarray, seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    rgb = toned(ramp(), noise, rng)
    filled = rgb.copy()
    filled[hole] += rng.normal(0, 0.3, filled[hole].shape).astype(np.float32)
    tones = Tones.of(rgb[~hole])
    held = tones.held(filled, ~hole)
    assert (held[~hole] == filled[~hole]).all()
    assert held @ LUMA == pytest.approx(filled @ LUMA, abs=1e-5)
    around = np.linalg.norm(tones.strayed(rgb)[~hole], axis=-1)
    inside = np.linalg.norm(tones.strayed(held)[hole], axis=-1)
    assert inside.max() <= 1.5 * max(around.max(), tones.stray) + 1e-5
    assert np.square(held - rgb)[hole].mean() < np.square(filled - rgb)[hole].mean()


def test_a_colour_that_is_near_may_be_in_the_hole(hole: np.ndarray) -> None:
    """A red flower, of which the hole covers a part, is one pixel in five hundred of all that is known."""
    rgb = toned(ramp(), 0.0, np.random.default_rng(0))
    red = np.zeros_like(hole)
    red[50:54, 58:64] = True
    rgb[red] = (0.9, -0.8, -0.7)
    filled = rgb.copy()
    assert (Tones.of(rgb[~hole]).held(filled, ~hole) == filled).all()


def test_photographs_in_colour_are_hardly_changed() -> None:
    """What was there, put into the hole, is what is wanted of it: it stays, to 0.05 levels of 255 in the mean."""
    rows = pq.read_table(str(files("repaint_batch") / "assets" / "demo.parquet"), columns=["mask", "original"])
    changes = []
    for encoded in zip(rows["original"].to_pylist(), rows["mask"].to_pylist(), strict=True):
        original, mask = (np.asarray(Image.open(io.BytesIO(one if isinstance(one, bytes) else one["bytes"]))) for one in encoded)
        rgb, known = original[..., :3].astype(np.float32) / 127.5 - 1, np.asarray(mask) < 128
        changes.append(np.abs(Tones.of(rgb[known]).held(rgb, known) - rgb)[~known].mean() * 127.5)
    assert len(changes) == 24
    assert np.mean(changes) < 0.05


@pytest.mark.parametrize("large", [False, True], ids=["speck", "torn corner of a large print"])
def test_a_restored_sepia_print_is_sepia_throughout(large: bool) -> None:
    side = 700 if large else 96
    luma = ramp(side, side)
    picture = Image.fromarray(np.rint((toned(luma, 0.01, np.random.default_rng(1)) + 1) * 127.5).astype(np.uint8))
    mask = Image.new("L", (side, side))
    mask.paste(255, (0, 0, 600, 600) if large else (40, 40, 60, 52))
    data, marked = saved(picture, "PNG"), saved(mask, "PNG")
    prepared = prepare(data, marked, ImagesConfig(), 32)
    windows = np.random.default_rng(2).uniform(-1, 1, prepared.windows.shape).astype(np.float32)
    restored = compose(data, marked, windows, ImagesConfig(), 32, "source")
    pixels = np.asarray(Image.open(io.BytesIO(restored.data))).astype(np.float32) / 127.5 - 1
    tones = Tones.of(pixels[np.asarray(mask) == 0])
    strayed = np.linalg.norm(tones.strayed(pixels), axis=-1)
    inside = np.asarray(mask) > 0
    # Light from noise reaches into tones that the surroundings lack, and clips there.
    assert np.quantile(strayed[inside], 0.9) < 2 * np.quantile(strayed[~inside], 0.999)
