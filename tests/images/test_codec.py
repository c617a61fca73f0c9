"""What strangers send: refused with a reason before it can do harm, or read at its own depth."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, MaskInvalid, SampleError
from repaint_batch.images.codec import read_mask_picture, read_picture
from repaint_batch.images.restoration import prepare

from .corpus import exif, grey, make, opencv, palette, photograph, png_by_hand, png_chunk, rgb, saved

CONFIG = ImagesConfig()


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few kilobytes that says it is huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(10_000)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + pixels + png_chunk(b"IEND", b"")


def animation(format: str) -> bytes:
    frames = [rgb().rotate(90 * i) for i in range(3)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100)


PSD = b"8BPS\0\x01" + bytes(6) + b"\0\x03" + struct.pack(">II", 4, 4) + b"\0\x08\0\x03" + bytes(100)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
JPEG, PNG, WEBP = saved(rgb(), "JPEG"), saved(rgb(), "PNG"), saved(rgb(), "WEBP")
TIFF, GIF, BMP = saved(rgb(), "TIFF", compression="tiff_lzw"), saved(palette(), "GIF"), saved(rgb(), "BMP")

REFUSED = {
    "zero bytes": (b"", "zero bytes"),
    "html": (b"\n<!DOCTYPE html><html><body>403</body></html>", "HTML page"),
    "svg": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "XML or SVG"),
    "text": (b"hello, world", "no picture in a known format"),
    "one byte": (b"\xff", "no picture in a known format"),
    "decompression bomb": (bomb(100_000, 100_000), "decompression bomb|more than the"),
    "just over the cap": (bomb(20_000, 9_000), "decompression bomb|more than the"),
    "negative width": (bomb(2**31 - 1, 1), "more than the|decompression bomb|cannot be read|no picture"),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "truncated or damaged JPEG"),
    "jpeg without its last bytes": (saved(rgb(), "JPEG", quality=95)[:-40], "truncated or damaged JPEG"),
    "truncated png": (PNG[: len(PNG) // 2], "truncated"),
    "png without its end": (PNG[:-12], "truncated"),
    "png of a tenth of its pixels": (bomb(1000, 100), "truncated or damaged PNG"),
    "truncated webp": (WEBP[: len(WEBP) // 2], "WEBP|no picture|cannot be read"),
    "truncated tiff": (saved(rgb(), "TIFF")[:5000], "truncated or damaged TIFF|cannot be read"),
    "truncated gif": (GIF[: len(GIF) // 2], "truncated or damaged GIF"),
    "truncated bmp": (BMP[: len(BMP) // 2], "truncated or damaged BMP"),
    "png with a broken header checksum": (PNG[:29] + b"\0\0\0\0" + PNG[33:], "cannot be read|no picture"),
    "jpeg header alone": (JPEG[:300], "truncated or damaged JPEG|no picture|cannot be read"),
    "animated gif": (animation("GIF"), "several frames"),
    "animated png": (animation("PNG"), "several frames"),
    "animated webp": (animation("WEBP"), "several frames"),
    "tiff of three pages": (animation("TIFF"), "several frames"),
    "photoshop": (PSD, "no picture in a known format"),
    "postscript": (EPS, "no picture in a known format"),
    "icon": (saved(rgb(), "ICO"), "no picture in a known format"),
    "pcx": (saved(rgb(), "PCX"), "no picture in a known format"),
    "lying extension is no excuse": (b"GIF89a" + PNG, "truncated or damaged GIF|several frames|more than|cannot be read|no"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageInvalid, match=f"^picture: .*({reason})"):
        read_picture(data, CONFIG)
    with pytest.raises(MaskInvalid, match=f"^mask: .*({reason})"):
        read_mask_picture(data, CONFIG)


def test_the_byte_cap_comes_before_everything() -> None:
    with pytest.raises(ImageInvalid, match=r"more than the 100 that images.max_bytes allows"):
        read_picture(PNG, ImagesConfig(max_bytes=100))


def test_the_pixel_cap_is_the_configs() -> None:
    assert read_picture(PNG, ImagesConfig(max_pixels=70 * 52)).size == (70, 52)
    with pytest.raises(ImageInvalid, match="70x52 is 3640 pixels, more than the 3639"):
        read_picture(PNG, ImagesConfig(max_pixels=3639))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_if_asked_for(format: str) -> None:
    picture = read_picture(animation(format), ImagesConfig(frames="first"))
    assert picture.size == (70, 52)
    shown = np.asarray(picture.image.convert("RGB")).astype(int)
    assert np.abs(shown - np.asarray(rgb())).mean() < 20


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_sixteen_bit_colour_is_what_opencv_wrote(channels: int, extension: str) -> None:
    samples = photograph(channels, np.uint16, seed=channels)
    picture = read_picture(opencv(extension, samples), CONFIG)
    assert (picture.crop((0, 0, *picture.size)) == samples).all()
    assert (picture.crop((3, 5, 20, 17)) == samples[5:17, 3:20]).all()


def test_interlaced_sixteen_bit_png() -> None:
    """Adam7 of a picture of one pixel a pass is written by hand: passes are rows of their own."""
    samples = photograph(3, np.uint16, width=8, height=8)
    starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    lines = b""
    for left, top, step_x, step_y in starts:
        for row in samples[top::step_y, left::step_x]:
            lines += b"\0" + row.astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(lines))
    picture = read_picture(data + png_chunk(b"IEND", b""), CONFIG)
    assert (picture.crop((0, 0, 8, 8)) == samples).all()


@pytest.mark.parametrize("odd", make(), ids=lambda odd: odd.name)
def test_what_is_put_is_what_is_cropped(odd) -> None:
    picture = read_picture(odd.data, CONFIG)
    box = (7, 9, 31, 40)
    before = picture.crop((0, 0, *picture.size)).copy()
    patch = picture.crop(box)[::-1].copy()
    picture.put(box, patch)
    after = picture.crop((0, 0, *picture.size))
    assert (after[9:40, 7:31] == patch).all()
    before[9:40, 7:31] = patch
    assert (after == before).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (20_000, 10), (10, 20_000)])
def test_extreme_shapes_are_restored(size: tuple[int, int]) -> None:
    data = saved(Image.fromarray(photograph(3, width=size[0], height=size[1])), "PNG")
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, max(1, size[0] // 300), max(1, size[1] // 3)))
    prepared = prepare(data, saved(mask, "PNG"), CONFIG, 32)
    assert 1 <= len(prepared.windows) <= 300
    assert np.isfinite(prepared.windows).all()


def test_non_finite_samples_are_refused_unless_the_mask_hides_them() -> None:
    samples = np.asarray(grey()).astype(np.float32).copy()
    samples[5, 6] = np.nan
    samples[6, 6] = np.inf
    data = saved(Image.fromarray(samples), "TIFF")
    elsewhere, there = Image.new("L", (70, 52)), Image.new("L", (70, 52))
    elsewhere.paste(255, (20, 20, 30, 30))
    there.paste(255, (4, 4, 10, 10))
    with pytest.raises(ImageInvalid, match="NaN or infinite"):
        prepare(data, saved(elsewhere, "PNG"), CONFIG, 32)
    assert np.isfinite(prepare(data, saved(there, "PNG"), CONFIG, 32).windows).all()


def test_metadata_bombs_do_not_decompress() -> None:
    text = png_chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(200 * 2**20)))
    data = PNG[:33] + text + PNG[33:]
    tracemalloc.start()
    try:
        with pytest.raises(ImageInvalid, match="picture: "):
            read_picture(data, CONFIG)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


SEEDS = [JPEG, PNG, WEBP, TIFF, GIF, BMP, saved(rgb(), "JPEG", exif=exif(6)), opencv(".png", photograph(3, np.uint16))]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12), st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_damaged_files_are_read_or_refused_and_nothing_else(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        picture = read_picture(bytes(damaged[: len(damaged) - cut]), ImagesConfig(max_pixels=10**6))
    except SampleError:
        return
    assert picture.image.size == picture.size


def test_a_grey_png_of_four_bits_is_read_as_opencv_reads_it() -> None:
    levels = photograph(1)[..., 0] >> 4
    data = png_by_hand((levels[:, ::2] << 4) | levels[:, 1::2], 70, 4, 0)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    picture = read_picture(data, CONFIG)
    assert picture.depth == 4
    assert (picture.crop((0, 0, 70, 52)) == theirs).all()
    assert Image.open(io.BytesIO(data)).mode == "L"
