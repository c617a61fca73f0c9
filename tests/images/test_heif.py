"""HEIC and AVIF: pixels are proven by another library than ours, and what stands beside them is kept or named."""

import io
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid
from repaint_batch.images.heif import proof_of_heic
from repaint_batch.images.restoration import Restored, compose, prepare

from .corpus import HEIGHT, WIDTH, photograph, saved
from .odd_files import exif_block, srgb

RESOLUTION = 32
P3 = {"color_primaries": 12, "transfer_characteristics": 13}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
HOLE = (slice(6, 20), slice(5, 21))


def drawn() -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[HOLE] = 255
    return pixels


def heic(samples: np.ndarray, mode: str = "RGB", **options: Any) -> bytes:
    file = pillow_heif.from_bytes(mode=mode, size=(samples.shape[1], samples.shape[0]), data=samples.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, **{"quality": 80, **options})
    return buffer.getvalue()


def restored(data: bytes) -> Restored:
    mask = saved(Image.fromarray(drawn()), "PNG")
    prepared = prepare(data, mask, ImagesConfig(), RESOLUTION)
    assert prepared.plan
    filled = np.full((len(prepared.plan), RESOLUTION, RESOLUTION, 3), 0.37, np.float32)
    return compose(data, mask, filled, ImagesConfig(), RESOLUTION, "source")


@pytest.mark.parametrize("colours", [{"icc_profile": srgb()}, P3], ids=["profile", "numbers"])
def test_a_heic_keeps_its_pixels_colours_and_metadata(colours: dict[str, Any]) -> None:
    data = heic(photograph(3), exif=exif_block(True), xmp=XMP, thumbnails=[32], **colours)
    done = restored(data)
    assert {"thumbnail", "thumbnail in EXIF", "lossy compression (now without loss)"} == set(done.dropped)
    before, after = (pillow_heif.open_heif(io.BytesIO(file)) for file in (data, done.data))
    known = drawn() == 0
    assert np.array_equal(proof_of_heic(done.data)[known], np.asarray(before)[known])
    assert np.array_equal(np.asarray(after)[known], np.asarray(before)[known])
    assert (np.asarray(after) != np.asarray(before))[~known].any()
    assert after.info["exif"][:4] == before.info["exif"][:4]
    assert after.info["xmp"] == XMP
    assert after.info.get("icc_profile") == colours.get("icc_profile")
    if colours is P3:
        assert {name: after.info["nclx_profile"][name] for name in P3} == P3
    again = restored(done.data)
    assert again.dropped == (), "what is without loss stays so"


def test_an_avif_keeps_its_description_of_colours() -> None:
    buffer = io.BytesIO()
    Image.fromarray(photograph(3)).save(buffer, "AVIF", quality=70, xmp=XMP)
    data = buffer.getvalue()
    at = data.index(b"nclx") + 4
    data = data[:at] + bytes.fromhex("000c000d") + data[at + 4 :]
    done = restored(data)
    at = done.data.index(b"nclx") + 4
    assert done.data[at : at + 6] == bytes.fromhex("000c000d0000")
    assert XMP in done.data
    before, after = (np.asarray(Image.open(io.BytesIO(file))) for file in (data, done.data))
    assert np.abs(before[drawn() == 0].astype(int) - after[drawn() == 0]).max() <= 1
    mask = saved(Image.fromarray(drawn()), "PNG")
    windows = np.zeros((len(prepare(data, mask, ImagesConfig(), RESOLUTION).plan), RESOLUTION, RESOLUTION, 3), np.float32)
    converted = compose(data, mask, windows, ImagesConfig(), RESOLUTION, "png")
    assert "description of colours (CICP 12/13)" in converted.dropped


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (lambda: heic(photograph(4), "RGBA"), "HEIF of RGBA is not restored, since nothing keeps it exactly"),
        (lambda: heic(photograph(3, np.uint16) >> 6, "RGB;10"), "HEIF of 10 bits a sample is not restored"),
        (lambda: heic(photograph(3))[:-400], "truncated or damaged HEIF"),
    ],
    ids=["opacity", "10 bits", "truncated"],
)
def test_what_cannot_be_kept_is_refused(data: Any, says: str) -> None:
    with pytest.raises(ImageInvalid, match=says):
        restored(data())
