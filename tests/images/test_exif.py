"""No thumbnail of what was restored leaves with the picture; all other EXIF does, byte for byte."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig, OutputFormat
from repaint_batch.images.exif import MARK, without_thumbnail
from repaint_batch.images.restoration import compose, prepare

from .corpus import photograph, saved

THUMBNAIL = b"\xff\xd8 what was in the hole \xff\xd9"


def exif_with_thumbnail(order: str = "little") -> bytes:
    """Return EXIF with a maker, and a thumbnail in a second directory, as cameras write it."""

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
        return number(tag, 2) + number(kind, 2) + number(count, 4) + value

    first = number(2, 2) + entry(0x010F, 2, 4, b"Cam\0") + entry(0x0112, 3, 1, number(1, 2) + b"\0\0")
    second_at = 8 + len(first) + 4
    second = number(3, 2) + entry(0x0103, 3, 1, number(6, 2) + b"\0\0")
    thumbnail_at = second_at + 2 + 3 * 12 + 4
    second += entry(0x0201, 4, 1, number(thumbnail_at, 4)) + entry(0x0202, 4, 1, number(len(THUMBNAIL), 4)) + number(0, 4)
    header = b"II*\0" if order == "little" else b"MM\0*"
    return header + number(8, 4) + first + number(second_at, 4) + second + THUMBNAIL


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_a_thumbnail_is_blanked_and_the_rest_kept(order: str, mark: bytes) -> None:
    exif = mark + exif_with_thumbnail(order)
    bare, names = without_thumbnail(exif)
    assert names == ["thumbnail in EXIF"]
    assert THUMBNAIL in exif
    assert not set(THUMBNAIL) & set(bare[-len(THUMBNAIL) :])
    assert len(bare) == len(exif)
    found = Image.Exif()
    found.load(bare)
    assert dict(found) == {0x010F: "Cam", 0x0112: 1}
    assert not found.get_ifd(1)
    assert without_thumbnail(bare) == (bare, [])


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0", b"MM\0*", MARK + b"II*\0\x08\0\0\0"]))
def test_bytes_that_are_no_exif_do_no_harm(data: bytes, head: bytes) -> None:
    assert len(without_thumbnail(head + data)[0]) == len(head + data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("output_format", ["source", "png", "webp-lossless"])
def test_no_restored_picture_carries_one(format: str, output_format: OutputFormat) -> None:
    data = saved(Image.fromarray(photograph(3)), format, exif=MARK + exif_with_thumbnail())
    assert THUMBNAIL in data
    mask = Image.new("L", (70, 52))
    mask.paste(255, (20, 20, 30, 30))
    config = ImagesConfig()
    prepared = prepare(data, saved(mask, "PNG"), config, 32)
    done = compose(data, saved(mask, "PNG"), prepared.windows, config, 32, output_format)
    assert THUMBNAIL not in done.data
    assert Image.open(io.BytesIO(done.data)).getexif()[0x010F] == "Cam"
