"""Nothing but the hole changes, whatever the picture; what the hole held has no say."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, MaskInvalid, SampleError
from repaint_batch.images.codec import read_picture
from repaint_batch.images.encoding import encode
from repaint_batch.images.orientation import upright
from repaint_batch.images.restoration import compose, prepare

from .corpus import HOLE, Odd, make, photograph, saved

CORPUS = {odd.name: odd for odd in make()}
CONFIG = ImagesConfig()
RESOLUTION = 32


def white_box(size: tuple[int, int], box: tuple[int, int, int, int] = HOLE) -> bytes:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return saved(mask, "PNG")


def restored_with(shade: float, count: int, resolution: int = RESOLUTION) -> np.ndarray:
    return np.full((count, resolution, resolution, 3), shade, dtype=np.float32)


TIFF_LAYOUT = {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 317, 320, 338, 339, 347, 530, 532}


def tags(data: bytes) -> dict[int, object]:
    """Return EXIF tags with those of camera and place, without what merely lays out a TIFF's pixels."""
    exif = Image.open(io.BytesIO(data)).getexif()
    found = {tag: exif[tag] for tag in exif if tag not in TIFF_LAYOUT | {0x8769, 0x8825}}
    return {**found, 0x8769: exif.get_ifd(0x8769), 0x8825: exif.get_ifd(0x8825)}


def upright_size(data: bytes) -> tuple[int, int]:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest):
    rows: list[tuple[str, ...]] = []
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{'file':40} {'mode':8} {'size':>9} {'bits':>4}  known equal  largest  metadata kept")
        for row in rows:
            print(f"{row[0]:40} {row[1]:8} {row[2]:>9} {row[3]:>4}  {row[4]:11}  {row[5]:>7}  {row[6]}")
        print(f"{len(rows)} files")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # by the test's own reading
@pytest.mark.parametrize("odd", CORPUS.values(), ids=CORPUS)
def test_comes_back_as_it_was_but_for_the_hole(odd: Odd, table: list[tuple[str, ...]]) -> None:
    before = Image.open(io.BytesIO(odd.data))
    before.load()
    mask = white_box(upright_size(odd.data))
    prepared = prepare(odd.data, mask, CONFIG, RESOLUTION)
    assert prepared.mode == odd.mode
    result = compose(odd.data, mask, restored_with(0.3, len(prepared.windows)), CONFIG, RESOLUTION, "source")

    after = Image.open(io.BytesIO(result.data))
    after.load()
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    for key in odd.kept:
        assert after.info[key] == before.info[key], key
    assert tags(result.data) == tags(odd.data)
    source, written = read_picture(odd.data, CONFIG), read_picture(result.data, CONFIG)
    assert (written.mode, written.depth, written.orientation) == (odd.mode, odd.depth, odd.orientation)

    hole = np.zeros(upright_size(odd.data)[::-1], dtype=bool)
    hole[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = True
    whole = (0, 0, *source.size)
    ours, theirs = (upright(p.crop(whole), odd.orientation) for p in (source, written))
    assert result.known_pixels_equal
    if odd.data[:2] == b"\xff\xd8":
        difference = np.abs(ours[~hole].astype(int) - theirs[~hole]).max()
        assert result.largest_known_difference == pytest.approx(difference, abs=2)  # rounding from luma to RGB
        assert after.quantization == before.quantization
    elif odd.name.startswith("gif"):
        shown = [np.asarray(image.convert("RGBA")) for image in (before, after)]
        assert (shown[0][~hole] == shown[1][~hole]).all()
    else:
        assert (ours[~hole] == theirs[~hole]).all()
        assert result.largest_known_difference == 0
    assert (ours[hole] != theirs[hole]).any(), "nothing was restored"
    size = f"{after.width}x{after.height}"
    largest = f"{result.largest_known_difference:g}"
    table.append((odd.name, odd.mode, size, str(odd.depth), str(result.known_pixels_equal), largest, ", ".join(odd.kept)))


def test_corpus_is_as_large_as_promised() -> None:
    assert len(CORPUS) >= 40


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("odd", CORPUS.values(), ids=CORPUS)
def test_the_hole_shows_what_was_restored(odd: Odd) -> None:
    """Mid grey restored comes out as mid grey, in each mode's own terms."""
    mask = white_box(upright_size(odd.data))
    prepared = prepare(odd.data, mask, CONFIG, RESOLUTION)
    result = compose(odd.data, mask, restored_with(0.0, len(prepared.windows)), CONFIG, RESOLUTION, "source")
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(result.data)))
    inside = (HOLE[0] + 6, HOLE[1] + 6, HOLE[2] - 6, HOLE[3] - 6)
    if odd.mode in ("I", "F", "I;16"):
        known = np.asarray(picture).astype(np.float64)
        known[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = np.nan
        low, high = (0, 65535) if odd.mode == "I;16" else (np.nanmin(known), np.nanmax(known))
        shade = (np.asarray(picture.crop(inside)).astype(np.float64).mean() - low) / (high - low)
    else:
        backed = Image.new("RGBA", picture.size, "white")
        backed.alpha_composite(picture.convert("RGBA"))
        shade = np.asarray(backed.convert("RGB").crop(inside)).mean() / 255
    # A 1-bit picture and a palette of colours have no mid grey.
    tolerance = {"1": 0.51, "P": 0.35}.get(odd.mode, 0.5 / (2**odd.depth - 1) + 0.02)
    assert shade == pytest.approx(0.5, abs=tolerance)


@pytest.mark.parametrize("name", ["png rgb 16-bit", "png orientation 6", "tiff float", "png palette", "tiff cmyk"])
def test_what_the_hole_held_has_no_say(name: str) -> None:
    """Windows and result depend on known pixels alone."""
    odd = CORPUS[name]
    source = read_picture(odd.data, CONFIG)
    other = read_picture(odd.data, CONFIG)
    other.put(HOLE, other.crop(HOLE)[::-1, ::-1].copy())
    changed = encode(other, "source").data
    mask = white_box(source.size)
    one, two = prepare(odd.data, mask, CONFIG, RESOLUTION), prepare(changed, mask, CONFIG, RESOLUTION)
    assert (one.windows == two.windows).all()
    filled = restored_with(0.1, len(one.windows))
    assert (
        compose(odd.data, mask, filled, CONFIG, RESOLUTION, "source").data
        == compose(changed, mask, filled, CONFIG, RESOLUTION, "source").data
    )


@pytest.mark.parametrize(("subsampling", "block"), [(0, 8), (2, 16)])
@pytest.mark.parametrize("quality", [50, 85])
@pytest.mark.parametrize("size", [(160, 128), (151, 117)])
def test_jpeg_blocks_in_which_nothing_was_restored_do_not_change(
    subsampling: int, block: int, quality: int, size: tuple[int, int]
) -> None:
    samples = photograph(3, width=size[0], height=size[1])
    data = saved(Image.fromarray(samples), "JPEG", quality=quality, subsampling=subsampling)
    mask = white_box(size)
    count = len(prepare(data, mask, CONFIG, RESOLUTION).windows)
    result = compose(data, mask, restored_with(0.9, count), CONFIG, RESOLUTION, "source")
    before, after = (np.asarray(Image.open(io.BytesIO(file))).astype(int) for file in (data, result.data))
    # Chroma is smoothed over the edge of a block by a pixel when it is enlarged.
    left, top, right, bottom = HOLE
    rows = slice(max(top // block * block - 1, 0), -(-bottom // block) * block + 1)
    columns = slice(max(left // block * block - 1, 0), -(-right // block) * block + 1)
    difference = np.abs(before - after).max(axis=2)
    assert difference[rows, columns].max() > 10
    difference[rows, columns] = 0
    # What an encoder made up beyond the picture's edge to fill the last blocks is not handed out by decoders.
    whole = difference[: size[1] // block * block - 1, : size[0] // block * block - 1]
    assert difference.max() <= 40
    assert np.count_nonzero(whole) <= 0.002 * whole.size


def test_a_picture_of_the_priors_size_is_its_own_window() -> None:
    samples = photograph(3, width=32, height=32)
    data, mask = saved(Image.fromarray(samples), "PNG"), white_box((32, 32), (5, 6, 20, 19))
    prepared = prepare(data, mask, CONFIG, 32)
    assert prepared.windows.shape == (1, 32, 32, 3)
    known = prepared.keep_mask[0]
    assert known.sum() == 32 * 32 - 15 * 13
    assert (np.rint((prepared.windows[0] + 1) * 127.5)[known] == samples[known]).all()
    assert (prepared.windows[0][~known] == 0).all()
    noise = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3))
    result = compose(data, mask, (noise / 127.5 - 1).astype(np.float32), CONFIG, 32, "source")
    after = np.asarray(Image.open(io.BytesIO(result.data)))
    assert (after[known] == samples[known]).all()
    assert (after[~known] == noise[0][~known]).all()


def test_a_mask_that_would_cost_too_much_is_refused() -> None:
    data = saved(Image.fromarray(photograph(3, width=200, height=150)), "PNG")
    dust = Image.fromarray(np.random.default_rng(0).random((150, 200)) < 0.02)
    needed = len(prepare(data, saved(dust, "PNG"), CONFIG, RESOLUTION).windows)
    assert needed > 9
    prepare(data, saved(dust, "PNG"), ImagesConfig(max_windows=needed), RESOLUTION)
    with pytest.raises(MaskInvalid, match=f"need {needed} windows of 32 px, more than the {needed - 1} that images.max_w"):
        prepare(data, saved(dust, "PNG"), ImagesConfig(max_windows=needed - 1), RESOLUTION)


def test_non_finite_restorations_fail_the_row() -> None:
    data, mask = saved(Image.fromarray(photograph(3)), "PNG"), white_box((70, 52))
    broken = restored_with(np.nan, len(prepare(data, mask, CONFIG, RESOLUTION).windows))
    with pytest.raises(SampleError, match="NaN or infinity"):
        compose(data, mask, broken, CONFIG, RESOLUTION, "source")


@pytest.mark.parametrize("output_format", ["png", "webp-lossless", "jpeg"])
def test_formats_that_cannot_keep_a_picture_are_refused_before_sampling(output_format: str) -> None:
    data = CORPUS["tiff float"].data
    with pytest.raises(ImageInvalid, match=r"F pixels of a TIFF cannot be kept in .*; set output.format to source"):
        prepare(data, white_box((70, 52)), CONFIG, RESOLUTION, output_format)


@pytest.mark.parametrize("output_format", ["png", "webp-lossless"])
def test_a_jpeg_kept_losslessly_is_equal_outside_the_hole(output_format: str) -> None:
    data, mask = CORPUS["jpeg orientation 6"].data, white_box((52, 70))
    count = len(prepare(data, mask, CONFIG, RESOLUTION).windows)
    result = compose(data, mask, restored_with(0.5, count), CONFIG, RESOLUTION, output_format)
    assert result.known_pixels_equal
    assert result.largest_known_difference == 0
    before, after = (np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(d)))) for d in (data, result.data))
    hole = np.zeros((70, 52), dtype=bool)
    hole[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = True
    assert (before[~hole] == after[~hole]).all()


def test_corrupt_metadata_passes_without_a_word() -> None:
    odd = CORPUS["jpeg corrupt exif"]
    mask = white_box((70, 52))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = prepare(odd.data, mask, CONFIG, RESOLUTION).windows
        for output_format in ("source", "png", "webp-lossless"):
            assert compose(odd.data, mask, windows, CONFIG, RESOLUTION, output_format).known_pixels_equal


def test_an_empty_hole_costs_nothing() -> None:
    data = saved(Image.fromarray(photograph(3)), "PNG")
    prepared = prepare(data, saved(Image.new("L", (70, 52)), "PNG"), CONFIG, 32)
    assert prepared.hole_fraction == 0
    assert prepared.windows.shape == (0, 32, 32, 3)
    assert prepared.keep_mask.shape == (0, 32, 32)


def test_a_picture_without_anything_known_is_restored_whole() -> None:
    data = saved(Image.fromarray(photograph(3)), "PNG")
    mask = saved(Image.new("L", (70, 52), 255), "PNG")
    prepared = prepare(data, mask, CONFIG, 32)
    assert prepared.hole_fraction == 1
    assert len([window for window in prepared.plan if window.parent is None]) == 1
    result = compose(data, mask, restored_with(0.0, len(prepared.plan)), CONFIG, 32, "source")
    assert result.known_pixels_equal
    assert result.seam_score is None
    assert set(np.unique(np.asarray(Image.open(io.BytesIO(result.data))))) <= {127, 128}


def test_is_deterministic() -> None:
    odd = CORPUS["jpeg 4:2:0 exif icc dpi"]
    mask = white_box((70, 52))
    filled = restored_with(0.2, len(prepare(odd.data, mask, CONFIG, RESOLUTION).windows))
    one, two = (compose(odd.data, mask, filled, CONFIG, RESOLUTION, "source") for _ in range(2))
    assert one == two
