"""One meaning for masks of every kind: white, black, alpha, colour, shapes; any depth; upright or stored."""

import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import MaskInvalid
from repaint_batch.images.codec import read_picture
from repaint_batch.images.masks import read_keep_mask, shapes_to_json

from .corpus import exif, rgb, saved

HOLE = np.zeros((52, 70), dtype=bool)
HOLE[10:20, 5:33] = True
HOLE[40:41, 60:61] = True
PICTURE = saved(rgb(), "PNG")


def keep_mask(mask: bytes, picture: bytes = PICTURE, **settings: object) -> np.ndarray:
    config = ImagesConfig(**settings)
    return read_keep_mask(mask, read_picture(picture, config), config)


def grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values)


def painted_layer() -> Image.Image:
    layer = Image.new("RGBA", (70, 52), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), mask=grey(HOLE))
    return layer


WHITE = {
    "1-bit png": saved(grey(HOLE), "PNG"),
    "8-bit png": saved(grey(HOLE.astype(np.uint8) * 255), "PNG"),
    "grey 128 of 255": saved(grey(HOLE.astype(np.uint8) * 128), "PNG"),
    "16-bit png": saved(grey(HOLE.astype(np.uint16) * 65535), "PNG"),
    "16-bit tiff": saved(grey(HOLE.astype(np.uint16) * 40000), "TIFF"),
    "16-bit rgb": cv2.imencode(".png", np.repeat(HOLE[..., None], 3, 2).astype(np.uint16) * 65535)[1].tobytes(),
    "palette png": saved(grey(HOLE.astype(np.uint8) * 255).convert("RGB").quantize(2), "PNG"),
    "gif": saved(grey(HOLE.astype(np.uint8) * 255), "GIF"),
    "bmp": saved(grey(HOLE.astype(np.uint8) * 255), "BMP"),
    "jpeg": saved(grey(HOLE.astype(np.uint8) * 255), "JPEG", quality=95),
    "webp": saved(grey(HOLE.astype(np.uint8) * 255).convert("RGB"), "WEBP", lossless=True),
    "rgb": saved(grey(HOLE.astype(np.uint8) * 255).convert("RGB"), "PNG"),
    "grey+alpha": saved(grey(HOLE.astype(np.uint8) * 255).convert("LA"), "PNG"),
    "painted on a transparent layer": saved(painted_layer(), "PNG"),
}


@pytest.mark.parametrize("mask", WHITE.values(), ids=WHITE)
def test_white_is_the_hole_in_every_format(mask: bytes) -> None:
    assert (keep_mask(mask) == ~HOLE).all()


@pytest.mark.parametrize("mask", [WHITE[name] for name in WHITE if name != "painted on a transparent layer"])
def test_black_is_the_complement(mask: bytes) -> None:
    assert (keep_mask(mask, hole="black") == HOLE).all()


def test_threshold() -> None:
    ramp = saved(grey(np.tile(np.arange(70, dtype=np.uint8) * 3, (52, 1))), "PNG")
    for threshold in (0.1, 0.5, 0.75):
        keep = keep_mask(ramp, mask_threshold=threshold)
        assert (keep[0] == (np.arange(70) * 3 < threshold * 255)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha(mode: str) -> None:
    layer = rgb().convert("RGBA")
    layer.putalpha(grey((~HOLE).astype(np.uint8) * 255))
    if mode == "P":
        index = np.where(HOLE, 1, 0).astype(np.uint8)
        layer = Image.fromarray(index).convert("P")
        mask = saved(layer, "PNG", transparency=1)
    else:
        mask = saved(layer.convert(mode), "PNG")
    assert (keep_mask(mask, hole="transparent") == ~HOLE).all()
    assert (keep_mask(mask, hole="opaque") == HOLE).all()


def test_alpha_that_is_not_there_is_refused() -> None:
    with pytest.raises(MaskInvalid, match="no alpha channel"):
        keep_mask(WHITE["8-bit png"], hole="transparent")


def test_colour_key() -> None:
    samples = np.asarray(rgb()).copy()
    samples[HOLE] = (255, 0, 254)
    assert (keep_mask(saved(Image.fromarray(samples), "PNG"), hole="#FF00fe") == ~HOLE).all()


@pytest.mark.parametrize("hole", ["grey", "#12345", "ff00ff", ""])
def test_other_meanings_are_refused_by_the_config(hole: str) -> None:
    with pytest.raises(ValueError, match="hole"):
        ImagesConfig(hole=hole)


def test_another_size_is_refused_with_both_sizes() -> None:
    mask = saved(Image.new("L", (35, 26)), "PNG")
    with pytest.raises(MaskInvalid, match=r"35x26 pixels, the picture is 70x52.*images.mask_resize"):
        keep_mask(mask)


def test_another_size_is_fitted_by_nearest_if_asked() -> None:
    small = np.zeros((26, 35), dtype=bool)
    small[3:7, 10:20] = True
    keep = keep_mask(saved(grey(small), "PNG"), mask_resize=True)
    assert (keep == ~small.repeat(2, axis=0).repeat(2, axis=1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_drawn_upright_and_stored_agree(orientation: int) -> None:
    picture = saved(rgb(), "JPEG", exif=exif(orientation))
    stored = Image.fromarray(HOLE.astype(np.uint8) * 255)
    carrier = stored.copy()
    carrier.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(carrier)
    assert (keep_mask(saved(upright, "PNG"), picture) == ~HOLE).all()
    assert (keep_mask(saved(stored, "PNG"), picture, mask_drawn_on="stored") == ~HOLE).all()
    tagged = saved(stored, "PNG", exif=exif(orientation))
    assert (keep_mask(tagged, picture) == ~HOLE).all()
    if orientation >= 5:  # only one way fits
        assert (keep_mask(saved(stored, "PNG"), picture) == ~HOLE).all()


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.3])
)
@settings(max_examples=60, deadline=None)
def test_growing_is_dilation_with_a_square(width: int, height: int, grow: int, seed: int, share: float) -> None:
    hole = np.random.default_rng(seed).random((height, width)) < share
    picture, mask = saved(Image.new("L", (width, height)), "PNG"), saved(grey(hole), "PNG")
    brush = np.ones((2 * grow + 1, 2 * grow + 1), np.uint8)
    assert (keep_mask(mask, picture, mask_grow_px=grow) == (cv2.dilate(hole.astype(np.uint8), brush) == 0)).all()
    assert (keep_mask(mask, picture, mask_grow_px=-grow) == (cv2.erode(hole.astype(np.uint8), brush) == 0)).all()


def test_boxes_and_polygons() -> None:
    keep = keep_mask(shapes_to_json(boxes=[(5, 10, 33, 20), (60, 40, 61, 41)]))
    assert (keep == ~HOLE).all()
    keep = keep_mask(shapes_to_json(polygons=[[(5, 10), (32, 10), (32, 19), (5, 19)]], boxes=[[60, 40, 61, 41]]))
    assert (keep == ~HOLE).all()
    triangle = ~keep_mask(shapes_to_json(polygons=[[(0, 0), (40, 0), (0, 40)]]))
    assert triangle.sum() == 41 * 42 // 2  # edges are inside


def test_boxes_are_clipped_to_the_picture() -> None:
    assert not keep_mask(shapes_to_json(boxes=[(-10, -10, 1000, 1000)])).any()
    assert keep_mask(shapes_to_json(boxes=[(100, 100, 120, 120)])).all()


def test_boxes_lie_on_the_picture_as_displayed() -> None:
    picture = saved(rgb(), "JPEG", exif=exif(6))
    keep = keep_mask(shapes_to_json(boxes=[(0, 0, 52, 5)]), picture)
    # Displayed with a quarter turn clockwise, the top edge is the stored picture's left edge.
    assert (~keep[:, :5]).all()
    assert keep[:, 5:].all()


@pytest.mark.parametrize(
    "shapes",
    [
        b"{",
        b'{"circles": []}',
        b'{"boxes": [[1, 2, 3]]}',
        b'{"boxes": [[5, 5, 5, 9]]}',
        b'{"boxes": [[0, 0, 1e400, 4]]}',
        b'{"boxes": 3}',
        b'{"polygons": [[[0, 0], [1, 1]]]}',
        b'{"boxes": [["a", 0, 1, 2]]}',
        b'{"boxes":' + b"[" * 100_000,
    ],
)
def test_broken_shapes_are_refused(shapes: bytes) -> None:
    with pytest.raises(MaskInvalid, match="mask: "):
        keep_mask(shapes)


def test_shapes_are_json() -> None:
    assert json.loads(shapes_to_json(boxes=[(1, 2, 3, 4)])) == {"boxes": [[1.0, 2.0, 3.0, 4.0]], "polygons": []}


def test_a_mask_that_is_no_picture_names_the_mask() -> None:
    with pytest.raises(MaskInvalid, match=r"mask: .*HTML"):
        keep_mask(b"<!DOCTYPE html><html>404</html>")


def test_a_picture_can_be_its_own_mask() -> None:
    layer = rgb().convert("RGBA")
    layer.putalpha(grey((~HOLE).astype(np.uint8) * 255))
    data = saved(layer, "PNG")
    assert (keep_mask(data, data, hole="transparent") == ~HOLE).all()
    assert Image.open(io.BytesIO(data)).mode == "RGBA"
