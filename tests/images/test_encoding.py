"""Owners' formats come back as they were laid out; other formats are used only where they hold every pixel."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid
from repaint_batch.images import jpeg, png
from repaint_batch.images.codec import read_picture
from repaint_batch.images.encoding import encode, target_format

from .corpus import XMP, Odd, exif, make, opencv, photograph, rgb, saved, srgb

CONFIG = ImagesConfig()
CORPUS = make()
LOSSLESS = [odd for odd in CORPUS if not odd.name.startswith(("jpeg", "gif"))]


@pytest.mark.parametrize("odd", LOSSLESS, ids=lambda odd: odd.name)
def test_an_untouched_picture_comes_back_sample_for_sample(odd: Odd) -> None:
    picture = read_picture(odd.data, CONFIG)
    written = encode(picture, "source")
    data, format = written.data, written.format
    again = read_picture(data, CONFIG)
    whole = (0, 0, *picture.size)
    assert (again.crop(whole) == picture.crop(whole)).all()
    assert (format, again.depth, again.mode) == (picture.format, picture.depth, picture.mode)


@pytest.mark.parametrize("odd", [odd for odd in CORPUS if odd.name.startswith("png")], ids=lambda odd: odd.name)
def test_a_png_keeps_every_chunk_but_its_pixels(odd: Odd) -> None:
    data = encode(read_picture(odd.data, CONFIG), "source").data
    for one, other in ((odd.data, data), (data, odd.data)):
        mine = [whole for kind, whole in png.chunks(one) if kind != b"IDAT"]
        theirs = [whole for kind, whole in png.chunks(other) if kind != b"IDAT"]
        assert mine == theirs


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("odd", [odd for odd in CORPUS if odd.name.startswith("jpeg")], ids=lambda odd: odd.name)
def test_a_jpeg_keeps_its_segments_and_tables(odd: Odd) -> None:
    data = encode(read_picture(odd.data, CONFIG), "source").data

    def metadata(file: bytes) -> list[bytes]:
        return [file[start:end] for marker, start, end in jpeg.segments(file) if marker in (*range(0xE0, 0xEE), 0xFE)]

    assert metadata(data) == metadata(odd.data)
    before, after = Image.open(io.BytesIO(odd.data)), Image.open(io.BytesIO(data))
    assert after.quantization == before.quantization
    if odd.name not in ("jpeg 4:1:1", "jpeg 4:4:0"):
        assert [layer[1:3] for layer in after.layer] == [layer[1:3] for layer in before.layer]


def test_a_jpeg_encoded_again_moves_by_rounding_alone_where_chroma_is_whole() -> None:
    data = saved(rgb(), "JPEG", quality=90, subsampling=0)
    before = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    again = encode(read_picture(data, CONFIG), "source").data
    after = np.asarray(Image.open(io.BytesIO(again))).astype(int)
    assert np.abs(after - before).mean() < 0.2


@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_packed_png_is_read_alike_by_opencv(width: int, height: int, depth: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 2**depth, (height, width)).astype(np.uint8)
    scaled = levels * np.uint8(255 // (2**depth - 1))
    theirs = cv2.imdecode(np.frombuffer(png.encode(scaled, "L", depth), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (theirs == scaled).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_png_and_tiff_are_read_alike_by_opencv(channels: int) -> None:
    samples = photograph(channels, np.uint16, width=33, height=300)
    for extension in (".png", ".tiff"):
        data = encode(read_picture(opencv(extension, samples), CONFIG), "source").data
        theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert (theirs == samples[..., [2, 1, 0, 3][:channels]]).all()


@pytest.mark.parametrize("output_format", ["png", "webp-lossless"])
@pytest.mark.parametrize("odd", CORPUS, ids=lambda odd: odd.name)
def test_lossless_conversions_show_the_same_or_are_refused(odd: Odd, output_format: str) -> None:
    picture = read_picture(odd.data, CONFIG)
    deep = odd.mode in ("CMYK", "I", "F") or (output_format == "webp-lossless" and odd.depth == 16)
    if deep and picture.format != {"png": "PNG", "webp-lossless": "WEBP"}[output_format]:
        with pytest.raises(ImageInvalid, match=f"cannot be kept in {output_format}"):
            target_format(picture, output_format)
        return
    data = encode(picture, output_format).data
    again = read_picture(data, CONFIG)
    whole = (0, 0, *picture.size)
    if odd.depth == 16:
        assert (again.crop(whole) == picture.crop(whole)).all()
    else:
        assert (np.asarray(again.image.convert("RGBA")) == np.asarray(picture.image.convert("RGBA"))).all()
    assert again.orientation == picture.orientation


def test_conversions_take_metadata_along() -> None:
    source = saved(rgb(), "JPEG", exif=exif(), icc_profile=srgb(), dpi=(300, 300), xmp=XMP)
    for output_format in ("png", "webp-lossless"):
        data = encode(read_picture(source, CONFIG), output_format).data
        after = Image.open(io.BytesIO(data))
        assert after.info["icc_profile"] == srgb()
        assert after.getexif()[0x010F] == "Camera maker"
        assert after.getexif().get_ifd(0x8769)[0x927C] == b"maker note \x00\x01\x02"
        assert after.info["xmp"] == XMP
    tiff = saved(rgb(), "TIFF", exif=exif(), icc_profile=srgb(), dpi=(300, 300))
    after = Image.open(io.BytesIO(encode(read_picture(tiff, CONFIG), "jpeg").data))
    assert after.info["icc_profile"] == srgb()
    assert after.info["dpi"] == (300, 300)
    assert after.getexif()[0x010F] == "Camera maker"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_jpeg_is_refused_where_it_would_lose_a_channel_or_depth(mode: str) -> None:
    image = Image.new(mode, (8, 8))
    with pytest.raises(ImageInvalid, match=r"cannot be kept in jpeg; set output.format to source"):
        encode(read_picture(saved(image, "PNG"), CONFIG), "jpeg")


def test_large_pictures_do_not_fit_webp() -> None:
    with pytest.raises(ImageInvalid, match="16400x2 is too large"):
        encode(read_picture(saved(Image.new("RGB", (16400, 2)), "PNG"), CONFIG), "webp-lossless")


def test_a_tiff_keeps_its_byte_order() -> None:
    odd = next(odd for odd in CORPUS if odd.name == "tiff rgb 16-bit big-endian")
    data = encode(read_picture(odd.data, CONFIG), "source").data
    assert data[:4] == odd.data[:4] == b"MM\0*"
    assert Image.open(io.BytesIO(data)).tag_v2[270] == "sixteen bits, big end first"
