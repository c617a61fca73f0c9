"""Masks as annotation tools, notebooks and phones make them: read where one reading makes sense, refused by name elsewhere."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import MaskInvalid
from repaint_batch.images.codec import read_picture
from repaint_batch.images.masks import read_keep_mask

from .corpus import rgb, saved

SIZE = (70, 52)
HOLE = np.zeros((52, 70), dtype=bool)
HOLE[6:16, 8:20] = True
PICTURE = saved(rgb(), "PNG")


def hole_of(mask: bytes, **settings: object) -> np.ndarray:
    config = ImagesConfig(**settings)
    return ~read_keep_mask(mask, read_picture(PICTURE, config), config)


def picture(values: np.ndarray, image_format: str = "PNG", **options: object) -> bytes:
    return saved(Image.fromarray(values), image_format, **options)


def painted(colour: tuple[int, ...], ground: tuple[int, ...]) -> np.ndarray:
    return np.where(HOLE[..., None], np.uint8(colour), np.uint8(ground)).astype(np.uint8)


def classes(labels: np.ndarray, palette: list[int]) -> bytes:
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette + [0] * (768 - len(palette)))
    return saved(image, "PNG")


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128, 128, 128, 128, 64, 0, 0]
SOFT = cv2.GaussianBlur(HOLE.astype(np.float32), (0, 0), 1)
CERTAIN: dict[str, bytes] = {
    "0 and 1": picture(HOLE.astype(np.uint8)),
    "0 and 1 of 16 bits": picture(HOLE.astype(np.uint16)),
    "0 and 255 of 16 bits": picture(HOLE.astype(np.uint16) * 255),
    "0 and 4095 of 16 bits": picture(HOLE.astype(np.uint16) * 4095),
    "0 and 1 as floats": picture(HOLE.astype(np.float32), "TIFF"),
    "0 and 255 as floats": picture(HOLE.astype(np.float32) * 255, "TIFF"),
    "0 and 1 of three channels": picture(np.repeat(HOLE[..., None], 3, 2).astype(np.uint8)),
    "0 and 1 of 16-bit colour": cv2.imencode(".png", np.repeat(HOLE[..., None], 3, 2).astype(np.uint16))[1].tobytes(),
    **{f"class {number} in the colours of VOC": classes(HOLE * number, VOC) for number in (1, 2, 3, 4, 8)},
    "palette of black and white": classes(HOLE, [0, 0, 0, 255, 255, 255]),
    "red on black": picture(painted((255, 0, 0), (0, 0, 0))),
    "blue on black, JPEG": picture(painted((0, 0, 255), (0, 0, 0)), "JPEG", quality=100, subsampling=0),
    "soft red on black": picture((SOFT[..., None] * np.array([230, 20, 20])).astype(np.uint8)),
    "red brush on a transparent layer": picture(np.dstack([painted((255, 0, 0), (0, 0, 0)), HOLE * np.uint8(255)])),
    "half-transparent white brush": picture(np.dstack([painted((255, 255, 255), (0, 0, 0)), HOLE * np.uint8(120)])),
    "half-transparent red brush": picture(np.dstack([painted((255, 0, 0), (255, 255, 255)), HOLE * np.uint8(100)])),
    "black brush on a transparent layer": picture(np.dstack([painted((0, 0, 0), (0, 0, 0)), HOLE * np.uint8(255)])),
    "white and black, both half clear": picture(np.dstack([painted((255,) * 3, (0,) * 3), np.full_like(HOLE, 120, np.uint8)])),
    "white on black made transparent": picture(painted((255,) * 3, (0,) * 3), transparency=(0, 0, 0)),
    "grey with opacity, opaque": picture(np.dstack([HOLE * np.uint8(255), np.full_like(HOLE, 255, np.uint8)])),
}


@pytest.mark.parametrize("mask", CERTAIN.values(), ids=CERTAIN)
def test_what_is_certain_is_read(mask: bytes) -> None:
    found = hole_of(mask)
    wrong = found ^ HOLE
    edge = cv2.morphologyEx(HOLE.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert found.any()
    assert not (wrong & ~edge).any(), "soft edges may fall on either side, nothing else"


LABELS = HOLE.astype(np.uint8)
LABELS[11:16, 8:20] = 2
VOID = np.where(HOLE, 15, 0).astype(np.uint8)
VOID[5, 8:20] = VOID[16, 8:20] = 255
UNCERTAIN: dict[str, tuple[bytes, str]] = {
    "two classes": (picture(LABELS), "values 0, 1 and 2, and none is white, which is 255; say images.hole: '#010101'"),
    "one class that is no 1": (picture(HOLE * np.uint8(38)), "values 0 and 38, and none is .*images.hole: '#262626' if 38"),
    "ones everywhere": (picture(np.ones_like(LABELS)), "value 1 alone, and none is white"),
    "two classes of VOC": (classes(LABELS, VOC), "colours #000000, #.*say images.hole: '#rrggbb'"),
    "classes with a border of 255": (picture(VOID), "values 0, 15 and 255 look like numbers of classes; .*'#0f0f0f'"),
    "classes of 16 bits": (picture(LABELS.astype(np.uint16)), "values 0, 1 and 2, .* 65535; draw the hole in white"),
    "red brush over a photograph": (picture(np.where(HOLE[..., None], np.uint8([255, 0, 0]), np.asarray(rgb()))), "#ff0000"),
    "red on white": (picture(painted((255, 0, 0), (255, 255, 255))), "colours #ffffff, #ff0000, of which none is certainly"),
    "a hole cut into a white layer": (
        picture(np.dstack([painted((255,) * 3, (255,) * 3), ~HOLE * np.uint8(255)])), "images.hole: opaque .* or transparent"),
    "greys below the threshold": (picture((SOFT * 100).astype(np.uint8)), r"\d+ values from 0 to \d+, and none is white"),
    "floats of any size": (picture(SOFT * 37, "TIFF"), "mode F has no white"),
    "negative numbers": (picture(SOFT - 1, "TIFF"), "are no shades"),
    "not a number": (picture(np.where(HOLE, np.float32("nan"), np.float32(0)), "TIFF"), "are no shades"),
}  # fmt: skip


@pytest.mark.parametrize(("mask", "says"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_what_is_not_certain_is_refused_with_what_was_found(mask: bytes, says: str) -> None:
    with pytest.raises(MaskInvalid, match=says):
        hole_of(mask)


def test_what_a_refusal_advises_works() -> None:
    assert (hole_of(picture(HOLE * np.uint8(38)), hole="#262626") == HOLE).all()
    assert (hole_of(picture(VOID), hole="#0f0f0f") == (VOID == 15)).all()
    cut = picture(np.dstack([painted((255,) * 3, (255,) * 3), ~HOLE * np.uint8(255)]))
    assert (hole_of(cut, hole="transparent") == HOLE).all()
    assert (hole_of(picture(painted((255, 0, 0), (255, 255, 255))), hole="#ff0000") == HOLE).all()


@pytest.mark.parametrize("name", ["0 and 1", "0 and 1 of 16 bits", "red on black", "class 1 in the colours of VOC"])
def test_black_is_the_complement(name: str) -> None:
    assert (hole_of(CERTAIN[name], hole="black") == ~HOLE).all()


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_black_alone_has_no_hole(image_format: str) -> None:
    assert not hole_of(picture(np.zeros((52, 70, 3), np.uint8), image_format)).any()


def test_what_a_lossy_format_leaves_in_black_is_no_hole() -> None:
    rng = np.random.default_rng(0)
    assert not hole_of(picture(rng.integers(0, 4, (52, 70), dtype=np.uint8), "JPEG", quality=95)).any()


Maker = Callable[[np.ndarray], np.ndarray]
MAKERS: dict[str, Maker] = {
    "0 and 1": lambda hole: hole.astype(np.uint8),
    "16 bits": lambda hole: hole.astype(np.uint16) * 65535,
    "one colour": lambda hole: np.where(hole[..., None], np.uint8([200, 0, 30]), np.uint8(0)).astype(np.uint8),
    "layer": lambda hole: np.dstack([np.full((*hole.shape, 3), 9, np.uint8) * hole[..., None], hole * np.uint8(77)]),
}


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 0.7]), st.sampled_from(sorted(MAKERS)))
def test_any_region_in_any_manner(seed: int, share: float, name: str) -> None:
    hole = np.random.default_rng(seed).random((52, 70)) < share
    assert (hole_of(picture(MAKERS[name](hole))) == hole).all()
