"""Shapes as tools write them: COCO, LabelMe, boxes and polygons of ours."""

import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import MaskInvalid
from repaint_batch.images.codec import read_picture
from repaint_batch.images.masks import read_keep_mask
from repaint_batch.images.shapes import drawn, is_shapes, read_shapes, shapes_to_json

from .corpus import exif, rgb, saved

SIZE = (70, 52)
HOLE = np.zeros((52, 70), dtype=bool)
HOLE[6:16, 8:20] = True
POLYGON = [[8, 6], [19, 6], [19, 15], [8, 15]]
FLAT = [8, 6, 19, 6, 19, 15, 8, 15]
COCO_SIZE = {"height": 52, "width": 70}


def hole_of(document: Any, encoding: str = "utf-8", picture: bytes | None = None) -> np.ndarray:
    config = ImagesConfig()
    data = document if isinstance(document, bytes) else json.dumps(document).encode(encoding)
    assert is_shapes(data)
    return ~read_keep_mask(data, read_picture(picture or saved(rgb(), "PNG"), config), config)


def runs_of(hole: np.ndarray) -> dict[str, Any]:
    """Return COCO's run lengths, by another way than they are read."""
    runs = [(value, len(list(group))) for value, group in groupby(hole.T.ravel().tolist())]
    return {"size": list(hole.shape), "counts": [0] * bool(runs[0][0]) + [length for _, length in runs]}


@pytest.mark.parametrize(
    "document",
    [
        {"polygons": [POLYGON]},
        {"polygons": [FLAT]},
        {"polygons": POLYGON},
        {"boxes": [[8, 6, 20, 16]]},
        {"boxes": [8, 6, 20, 16]},
        {"segmentation": [FLAT], "bbox": [0, 0, 70, 52], "iscrowd": 0, "id": 3, "category_id": 1, "area": 120.0},
        {"bbox": [8, 6, 12, 10]},
        {"segmentation": [], "bbox": [8, 6, 12, 10]},
        {"segmentation": runs_of(HOLE), "iscrowd": 1},
        runs_of(HOLE),
        [{"bbox": [8, 6, 12, 5]}, {"bbox": [8, 11, 12, 5]}],
        {"images": [{"id": 1, "file_name": "a.png", **COCO_SIZE}], "annotations": [{"image_id": 1, "segmentation": [FLAT]}]},
        {"shapes": [{"label": "x", "points": POLYGON, "shape_type": "polygon"}], "imageHeight": 52, "imageWidth": 70},
        {"shapes": [{"points": [[19, 15], [8, 6]], "shape_type": "rectangle"}], "imageHeight": 52, "imageWidth": 70},
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_way_of_writing_the_same_box(document: Any, encoding: str) -> None:
    assert (hole_of(document, encoding) == HOLE).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))
def test_runs_are_the_pixels(width: int, height: int, seed: int, share: float) -> None:
    hole = np.random.default_rng(seed).random((height, width)) < share
    shapes = read_shapes(json.dumps(runs_of(hole)).encode())
    assert shapes.size == (width, height)
    assert (drawn(shapes, shapes.size) == hole).all()


@pytest.mark.parametrize(
    ("counts", "boxes"),
    [
        ("V::n0000000000000000000000hi00XVO0000000000000", [(8, 6, 20, 16), (40, 30, 48, 40)]),
        ("Pl1", []),
        ("0Pl1", [(0, 0, 48, 40)]),
    ],
)
def test_compressed_runs_are_those_of_coco(counts: str, boxes: list[tuple[int, ...]]) -> None:
    # Written by COCO's own maskApi.
    shapes = read_shapes(json.dumps({"segmentation": {"size": [40, 48], "counts": counts}}).encode())
    expected = np.zeros((40, 48), dtype=bool)
    for left, top, right, bottom in boxes:
        expected[top:bottom, left:right] = True
    assert (drawn(shapes, (48, 40)) == expected).all()


def test_a_circle_has_its_radius() -> None:
    hole = hole_of({"shapes": [{"points": [[30, 25], [40, 25]], "shape_type": "circle"}]})
    assert abs(hole.sum() - np.pi * 10.5**2) < 25


def test_of_a_turned_picture_the_size_tells_which_way() -> None:
    stored, upright = np.zeros((52, 70), dtype=bool), np.zeros((70, 52), dtype=bool)
    stored[:, :5] = True
    upright[:5, :] = True
    picture = saved(rgb(), "JPEG", exif=exif(6))
    for runs in (runs_of(stored), runs_of(upright)):
        assert (hole_of(runs, picture=picture) == stored).all()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([[8, 6, 20, 16]], "a list that may mean boxes or a polygon"),
        ([], "a list that may mean"),
        ({"boxes": [[8, 6, 8, 10]]}, r"is empty.*x, y, width and height are what \"bbox\" holds"),
        ({"polygons": [[8, 6, 19]]}, "flat polygon of 3 numbers"),
        ({"size": [52, 70], "counts": [5, 10]}, "runs cover 15 pixels, the picture has 3,640"),
        ({"size": [52, 70], "counts": [-1, 3641]}, "no whole numbers from 0"),
        ({"size": [52, 70], "counts": "V::n\x7f"}, "none of COCO's"),
        ({"size": [40, 48], "counts": [1920]}, "48x40 pixels, the picture is 70x52"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "no whole numbers"),
        ({"shapes": [{"points": [[1, 1]], "shape_type": "point"}]}, "a shape of type 'point'; polygon, rectangle and circle"),
        ({"shapes": [], "imageHeight": 5, "imageWidth": 5}, "5x5 pixels, the picture is 70x52"),
        ({"segmentation": None, "bbox": None}, "annotation without segmentation and bbox"),
        ({"images": [{"id": 1}, {"id": 2}], "annotations": []}, "a COCO file of 2 pictures is not .*manifest build"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}, {"image_id": 2, "bbox": [0, 0, 1, 1]}]}, "of 2 pictures"),
        (b'{"polygons": [[[0, 0], [NaN, 1], [2, 2]]]}', "expected 2 numbers"),
    ],
)
def test_what_is_not_certain_is_refused(document: Any, says: str) -> None:
    with pytest.raises(MaskInvalid, match=says):
        hole_of(document)


def test_shapes_of_columns_may_be_flat() -> None:
    assert json.loads(shapes_to_json([[1, 2, 3, 4]], [FLAT])) == {"boxes": [[1, 2, 3, 4]], "polygons": [POLYGON]}
    assert json.loads(shapes_to_json(polygons=POLYGON))["polygons"] == [POLYGON]
