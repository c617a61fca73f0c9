"""A prior that knew the truth would give back the picture: exactly at scale 1, smoothly at others."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from repaint_batch.config import ImagesConfig
from repaint_batch.images import restoration
from repaint_batch.images.codec import read_picture
from repaint_batch.images.colour import Colours
from repaint_batch.images.orientation import stored, upright
from repaint_batch.images.restoration import compose, prepare
from repaint_batch.images.scaling import blurred, cut, enlarged
from repaint_batch.images.windows import Window, plan_windows

from .corpus import exif, photograph, saved

R = 32
CONFIG = ImagesConfig()


def truth(data: bytes, mask: bytes, config: ImagesConfig = CONFIG, resolution: int = R) -> np.ndarray:
    """Return what a prior would restore that knows the picture without its hole."""
    picture = read_picture(data, config)
    count = len(prepare(data, mask, config, resolution).windows)
    keep = np.asarray(Image.open(io.BytesIO(mask))) == 0
    keep = stored(keep, picture.orientation)
    everything = np.ones_like(keep)
    colours = Colours.of(picture, everything, opaque=False)
    windows = plan_windows(keep, resolution)
    assert len(windows) == count
    return np.stack([cut(picture, colours, everything, window, resolution)[0] for window in windows])


def random_mask(width: int, height: int, seed: int) -> Image.Image:
    """Return a mask of thin scratches and small spots, all to be solved at scale 1."""
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), dtype=np.uint8)
    for _ in range(4):
        x, y = rng.integers(0, width), rng.integers(0, height)
        hole[y : y + 2, x : x + rng.integers(1, width)] = 255
        hole[y : y + rng.integers(1, height), x : x + 3] = 255
    return Image.fromarray(hole)


@given(st.integers(33, 150), st.integers(33, 150), st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_truth_at_full_scale_gives_back_the_picture(width: int, height: int, seed: int, orientation: int) -> None:
    samples = photograph(3, width=width, height=height, seed=seed)
    data = saved(Image.fromarray(samples), "PNG", exif=exif(orientation))
    shape = (height, width) if orientation >= 5 else (width, height)
    mask = saved(random_mask(*shape, seed), "PNG")
    restored = truth(data, mask)
    prepared = prepare(data, mask, CONFIG, R)
    assert (prepared.windows[prepared.keep_mask] == restored[prepared.keep_mask]).all()
    result = compose(data, mask, restored, CONFIG, R, "source")
    assert (np.asarray(Image.open(io.BytesIO(result.data))) == samples).all()
    assert result.known_pixels_equal


@pytest.mark.parametrize("size", [(16, 12), (24, 30), (200, 150), (150, 220), (601, 307)])
def test_the_truth_at_another_scale_gives_back_a_smooth_picture(size: tuple[int, int]) -> None:
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    samples = np.stack([x * 200 // width + 20, y * 200 // height + 20, (x + y) * 100 // (width + height) + 60], axis=-1)
    data = saved(Image.fromarray(samples.astype(np.uint8)), "PNG")
    mask = Image.new("L", size)
    mask.paste(255, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    encoded = saved(mask, "PNG")
    result = compose(data, encoded, truth(data, encoded), CONFIG, R, "source")
    after = np.asarray(Image.open(io.BytesIO(result.data))).astype(int)
    assert np.abs(after - samples).max() <= 5
    assert result.seam_score == pytest.approx(1, abs=0.35)


def test_no_seam_shows_where_scales_meet_on_a_grainy_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = photograph(3, width=300, height=240)
    data = saved(Image.fromarray(samples), "PNG")
    mask = Image.new("L", (300, 240))
    mask.paste(255, (90, 70, 122, 102))  # enlarged by a third, and left at that
    encoded = saved(mask, "PNG")
    scores = {}
    for feather in (0, 8):
        monkeypatch.setattr(restoration, "FEATHER_PX", feather)
        # A restoration that misses the brightness of its surroundings by a tenth.
        off = truth(data, encoded, CONFIG) + 0.2
        scores[feather] = compose(data, encoded, off.astype(np.float32), CONFIG, R, "source").seam_score
    assert scores[8] < scores[0] / 1.5


def test_what_is_in_the_hole_bleeds_into_no_known_pixel_of_a_coarse_window() -> None:
    samples = np.full((200, 200, 3), 90, dtype=np.uint8)
    samples[60:140, 60:140] = 255
    picture = read_picture(saved(Image.fromarray(samples), "PNG"), CONFIG)
    keep = np.ones((200, 200), dtype=bool)
    keep[60:140, 60:140] = False
    rgb, known = cut(picture, Colours.of(picture, keep, opaque=False), keep, Window(0, 0, 200, (60, 60, 140, 140)), R)
    assert rgb[known] == pytest.approx(90 / 127.5 - 1, abs=1e-5)
    assert known.mean() == pytest.approx(1 - 0.16, abs=0.06)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(8, 200), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_flat_picture_stays_flat_at_every_scale(width: int, height: int, side: int, seed: int) -> None:
    picture = read_picture(saved(Image.new("RGB", (width, height), (40, 90, 200)), "PNG"), CONFIG)
    keep = np.random.default_rng(seed).random((height, width)) > 0.3
    keep[0, 0] = True
    window = Window(0, 0, max(side, width, height), (0, 0, width, height))
    rgb, known = cut(picture, Colours.of(picture, keep, opaque=False), keep, window, R)
    assert rgb[known] == pytest.approx(np.broadcast_to(np.array([40, 90, 200]) / 127.5 - 1, rgb[known].shape), abs=1e-4)


@given(st.integers(33, 400), st.data())
@settings(max_examples=60, deadline=None)
def test_a_part_enlarged_is_the_part_of_the_whole_enlarged(side: int, data: st.DataObject) -> None:
    window = Window(10, 20, side, (10, 20, 11, 21))
    restored = np.random.default_rng(side).uniform(-1, 1, (R, R, 3)).astype(np.float32)
    left, top = data.draw(st.integers(0, side - 1)), data.draw(st.integers(0, side - 1))
    right, bottom = data.draw(st.integers(left + 1, side)), data.draw(st.integers(top + 1, side))
    whole = enlarged(restored, window, (10, 20, 10 + side, 20 + side))
    part = enlarged(restored, window, (10 + left, 20 + top, 10 + right, 20 + bottom))
    assert whole.shape == (side, side, 3)
    assert part == pytest.approx(whole[top:bottom, left:right], abs=1e-4)


def test_blurring_keeps_flat_areas_flat_and_weighs_by_distance() -> None:
    assert blurred(np.ones((40, 40), np.float32), 3)[10:30, 10:30] == pytest.approx(1)
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1
    spread = blurred(point, 4)
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert spread[20, 20] == spread.max()
    assert spread[20, 20 + 8] > 0
    assert spread[20, 20 + 9] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_undo_each_other(orientation: int) -> None:
    pixels = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert (stored(upright(pixels, orientation), orientation) == pixels).all()
    image = Image.fromarray(photograph(3, width=7, height=4))
    data = saved(image, "PNG", exif=exif(orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (upright(np.asarray(image), orientation) == expected).all()
