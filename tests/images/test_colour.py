"""A prior sees light, whatever the samples are; light written back is seen again."""

import numpy as np
import pytest
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.images.codec import read_picture
from repaint_batch.images.colour import Colours
from repaint_batch.images.restoration import compose, prepare

from .cmyk_profile import cmyk_profile, light_of_inks
from .corpus import HEIGHT, WIDTH, Odd, cmyk, make, palette, rgba, saved, srgb

CONFIG = ImagesConfig()
CORPUS = make()
EVERYTHING = np.ones((HEIGHT, WIDTH), dtype=bool)
FINE = [odd for odd in CORPUS if odd.mode in ("L", "RGB", "I;16", "RGB;16", "I", "F")]


def colours_of(data: bytes, opaque: bool = False):
    picture = read_picture(data, CONFIG)
    return picture, Colours.of(picture, np.ones(picture.size[::-1], dtype=bool), opaque=opaque)


@pytest.mark.parametrize("odd", FINE, ids=lambda odd: odd.name)
def test_samples_survive_being_seen(odd: Odd) -> None:
    picture, colours = colours_of(odd.data)
    samples = picture.crop((0, 0, *picture.size))
    seen = colours.to_rgb(samples)
    assert seen.dtype == np.float32
    assert seen.min() >= -1
    assert seen.max() <= 1
    flat = samples.reshape(-1, *samples.shape[2:])
    back = colours.from_rgb(seen.reshape(-1, 3), flat)
    assert back.dtype == samples.dtype
    tolerance = {"F": 1e-4 * colours.full, "I": 1e-6 * colours.full}.get(odd.mode, 0)
    assert np.abs(back.astype(np.float64) - flat).max() <= tolerance


@pytest.mark.parametrize("odd", CORPUS, ids=lambda odd: odd.name)
def test_what_is_written_is_what_is_seen(odd: Odd) -> None:
    """Writing what was seen changes nothing that can be seen, in every mode."""
    picture, colours = colours_of(odd.data)
    samples = picture.crop((0, 0, *picture.size))
    seen = colours.to_rgb(samples)
    back = colours.from_rgb(seen.reshape(-1, 3), samples.reshape(-1, *samples.shape[2:]))
    again = colours.to_rgb(back.reshape(samples.shape))
    visible = np.ones(seen.shape[:2], dtype=bool)
    if colours.palette is not None:  # restored pixels are opaque there, and no entry may be the white behind
        visible = colours.palette[samples][..., 3] == 255
    assert np.abs(again - seen)[visible].max() < 0.03


def test_transparent_is_seen_on_white() -> None:
    picture, colours = colours_of(saved(rgba(), "PNG"))
    seen = colours.to_rgb(picture.crop((0, 0, *picture.size)))
    assert (seen[:10] == 1).all()
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture.image)
    assert np.abs((seen + 1) * 127.5 - np.asarray(ground.convert("RGB"))).max() < 1.01


def test_alpha_is_kept_unless_it_marked_the_hole() -> None:
    picture, kept = colours_of(saved(rgba(), "PNG"))
    _, shown = colours_of(saved(rgba(), "PNG"), opaque=True)
    samples = picture.crop((0, 0, *picture.size)).reshape(-1, 4)
    light = np.full((len(samples), 3), 0.5, dtype=np.float32)
    assert (kept.from_rgb(light, samples)[:, 3] == samples[:, 3]).all()
    assert (shown.from_rgb(light, samples) == [191, 191, 191, 255]).all()


def test_palettes_give_the_nearest_entry_that_can_be_seen() -> None:
    picture, colours = colours_of(saved(palette(50), "PNG", transparency=7))
    entries = np.array(picture.image.getpalette()).reshape(-1, 3)[:50].astype(int)
    wanted = np.random.default_rng(0).integers(0, 256, (500, 3))
    index = colours.from_rgb((wanted / 127.5 - 1).astype(np.float32), np.zeros(500, dtype=np.uint8))
    distances = ((wanted[:, None] - entries[None]) ** 2).sum(axis=2)
    distances[:, 7] = 10**9
    assert (distances[np.arange(500), index] == distances.min(axis=1)).all()


def test_inks_are_seen_and_written_through_their_profile() -> None:
    profile = cmyk_profile()
    data = saved(cmyk(), "TIFF", icc_profile=profile)
    _, colours = colours_of(data)
    assert colours.inks is not None
    inks = np.random.default_rng(1).integers(0, 200, (400, 1, 4)).astype(np.uint8)
    seen = colours.to_rgb(inks)
    linear = light_of_inks(inks / 255)
    expected = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    # Relative to the paper, which is not white: order and rough size are what a profile can be held to here.
    assert np.corrcoef(((seen + 1) / 2).ravel(), expected.ravel())[0, 1] > 0.98
    again = colours.to_rgb(colours.from_rgb(seen[:, 0], inks[:, 0])[:, None])
    assert np.abs(again - seen).mean() < 0.03
    plain = colours_of(saved(cmyk(), "TIFF"))[1]
    assert plain.inks is None
    assert np.abs(plain.to_rgb(inks) - seen).mean() > 0.05


def test_a_cmyk_picture_keeps_its_profile() -> None:
    profile = cmyk_profile()
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(255, (20, 20, 40, 40))
    encoded = saved(mask, "PNG")
    for data in (saved(cmyk(), "TIFF", icc_profile=profile), saved(cmyk(), "JPEG", icc_profile=profile, quality=95)):
        count = len(prepare(data, encoded, CONFIG, 32).windows)
        result = compose(data, encoded, np.zeros((count, 32, 32, 3), np.float32), CONFIG, 32, "source")
        after = read_picture(result.data, CONFIG)
        assert after.icc == profile
        assert result.known_pixels_equal
        seen = colours_of(result.data)[1].to_rgb(after.crop((26, 26, 34, 34)))
        assert np.abs(seen).max() < 0.12


def test_a_profile_of_other_colours_is_not_used_for_inks() -> None:
    assert colours_of(saved(cmyk(), "TIFF", icc_profile=srgb()))[1].inks is None
    assert colours_of(saved(cmyk(), "TIFF", icc_profile=b"broken"))[1].inks is None


def test_float_pictures_are_seen_over_the_range_of_what_is_known() -> None:
    samples = np.linspace(-5, 5, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    samples[10, 10] = 1e30
    picture = read_picture(saved(Image.fromarray(samples), "TIFF"), CONFIG)
    keep = EVERYTHING.copy()
    keep[10, 10] = False
    colours = Colours.of(picture, keep, opaque=False)
    assert (colours.low, colours.full) == (-5, 10)
    assert colours.to_rgb(samples)[0, 0] == pytest.approx(-1)
    assert colours.to_rgb(samples)[10, 10] == pytest.approx(1)
