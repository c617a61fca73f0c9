"""Thumbnails: within their bytes, upright, and lying on each other."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.report.thumbnails import Thumbnails, thumbnails

from .fabricated import png

IMAGES = ImagesConfig()


def decoded(data: bytes | None) -> np.ndarray:
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1200, 60_000), st.integers(1, 64), st.integers(0, 2**32))
def test_all_three_fit_and_have_one_size(width: int, height: int, room: int, cells: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    picture = png(np.asarray(coarse.resize((width, height))))
    mask = png((rng.random((height, width)) < 0.5).astype(np.uint8) * 255)
    made = thumbnails(picture, mask, picture, IMAGES, room)
    assert sum(len(part or b"") for part in made.parts) <= room
    if made.before is not None and made.hole is not None:
        before, hole = decoded(made.before), decoded(made.hole)
        assert before.shape == decoded(made.after).shape
        assert max(before.shape[:2]) <= 512
        whole = [tuple(-(-side // divisor) for side in before.shape[:2]) for divisor in (1, 2, 4, 8)]
        assert hole.shape[:2] in whole  # the same rectangle, perhaps coarser


def test_more_room_gives_larger_pictures() -> None:
    ramp = np.tile(np.linspace(0, 255, 600).astype(np.uint8), (400, 1))
    picture = png(np.dstack([ramp, ramp, ramp]))
    sides = [decoded(thumbnails(picture, None, picture, IMAGES, room).before).shape[1] for room in (1200, 6000, 90_000)]
    assert sides == sorted(sides)
    assert sides[-1] == 512


@pytest.mark.parametrize("hole", ["white", "black"])
def test_the_hole_follows_the_jobs_polarity(hole: Any) -> None:
    grey = np.full((40, 40), 0 if hole == "white" else 255, np.uint8)
    grey[10:20, 5:30] = 255 - grey[0, 0]
    picture = png(np.zeros((40, 40, 3), np.uint8))
    made = decoded(thumbnails(picture, png(grey), picture, ImagesConfig(hole=hole), 9000).hole)
    opaque = made[..., 3] == 255
    scale = made.shape[0] // 40
    assert opaque[10 * scale : 20 * scale, 5 * scale : 30 * scale].all()
    assert opaque.sum() == 10 * 25 * scale**2


def test_orientation_tags_turn_picture_and_hole_alike() -> None:
    pixels = np.zeros((160, 200, 3), np.uint8)
    pixels[:80] = 255  # the upper half is white as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the upper half becomes the right one
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, quality=95)
    made = thumbnails(buffer.getvalue(), png(pixels[..., 0]), buffer.getvalue(), IMAGES, 60_000)
    for data in (made.before, made.after):
        shown = decoded(data)[..., 0]
        assert shown.shape == (200, 160)
        assert shown[:, 90:].mean() > 240
        assert shown[:, :70].mean() < 15
    hole = decoded(made.hole)[..., 3]
    assert hole.shape == (200, 160)
    assert (hole[:, 80:] == 255).all()
    assert (hole[:, :80] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_of_pixel_can_be_shown(mode: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    if mode == "I;16":
        picture, form = Image.fromarray(ramp.astype(np.uint16) * 257), "PNG"
    elif mode == "F":
        picture, form = Image.fromarray(ramp.astype(np.float32) / 255), "TIFF"
    else:
        picture, form = Image.fromarray(ramp).convert(mode), "TIFF" if mode == "CMYK" else "PNG"
    buffer = io.BytesIO()
    picture.save(buffer, form)
    shown = decoded(thumbnails(buffer.getvalue(), None, None, IMAGES, 9000).before)
    assert shown[:, :20, 0].mean() < 100 < 160 < shown[:, -20:, 0].mean()


def test_what_is_no_picture_is_left_out() -> None:
    picture = png(np.zeros((8, 8, 3), np.uint8))
    assert thumbnails(b"no picture", b"", picture[:40], IMAGES, 9000) == Thumbnails()
    assert thumbnails(None, None, None, IMAGES, 9000) == Thumbnails()
    made = thumbnails(b"no picture", b"no mask", picture, IMAGES, 9000)
    assert made.before is None
    assert made.after is not None
    assert made.hole is None
    assert thumbnails(picture, None, picture, ImagesConfig(max_pixels=63), 9000).before is None


def test_the_detail_is_the_largest_mark_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    before, after = (rng.integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1) for _ in range(2))
    mask = np.zeros(before.shape[:2], np.uint8)
    mask[10:13, 10:13] = mask[300:306, 740:790] = 255
    made = thumbnails(png(before), png(mask), png(after), IMAGES, 50_000, 40_000)
    assert len(made.detail_before or b"") + len(made.detail_after or b"") <= 40_000
    for detail, full in ((made.detail_before, before), (made.detail_after, after)):
        cut = full[175:431, 544:800].astype(int)
        assert np.abs(decoded(detail)[..., :3].astype(int) - cut).mean() < 8, "256 px around 303, moved in from the right edge"
    for room, size in ((0, 800), (2_000, 800), (40_000, 500)):  # no room, or a picture that is shown pixel by pixel as it is
        small = thumbnails(png(before[:size, :size]), png(mask[:size, :size]), png(after[:size, :size]), IMAGES, 90_000, room)
        assert (small.before is None, small.detail_before, small.detail_after) == (False, None, None)
