"""Holes drawn as shapes: boxes and polygons as JSON of ours, annotations of COCO, files of LabelMe.

::

    {"boxes": [[left, top, right, bottom], ...], "polygons": [[[x, y], ...], ...]}
    {"segmentation": [[x, y, x, y, ...], ...]}                    COCO; also run lengths, of numbers or compressed
    {"bbox": [x, y, width, height]}                               COCO, where there is no segmentation
    {"images": [{"width", "height"}], "annotations": [...]}       COCO's file, of one picture
    {"shapes": [{"points", "shape_type"}], "imageHeight", ...}    LabelMe

Coordinates are pixels of the picture as displayed; where the file tells the picture's size, it must be that.

Source of run lengths: COCO's ``maskApi``: runs down the columns, known first; compressed as differences in groups of 5 bits.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from repaint_batch.errors import MaskInvalid

Size = tuple[int, int]
"""Width and height in pixels."""
Points = list[tuple[float, ...]]

_OURS = {"boxes", "polygons"}
_HOW = 'write {"boxes": [[left, top, right, bottom], ...]}, {"polygons": [[[x, y], ...], ...]} or annotations of COCO'
_MOST = 1e9
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass
class Shapes:
    """What a file of shapes says.

    Attributes:
        boxes: left, top, right, bottom; right and bottom are outside.
        polygons: corners; pixels that an edge touches are inside.
        runs: lengths of runs down the columns of a picture of `size`, known ones first.
        size: of the picture, where the file tells it.
    """

    boxes: list[tuple[float, ...]] = field(default_factory=list)
    polygons: list[Points] = field(default_factory=list)
    runs: list[list[int]] = field(default_factory=list)
    size: Size | None = None


def is_shapes(mask: bytes) -> bool:
    """Return whether the bytes of a mask are JSON, and no picture."""
    return mask.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") or mask[:2] in _UTF16


def read_shapes(mask: bytes) -> Shapes:
    """Return the shapes in a mask.

    Raises:
        MaskInvalid: it is no JSON, or does not say certainly what the hole is.
    """
    try:
        return _read(json.loads(mask))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise MaskInvalid(f"mask: shapes cannot be read ({type(error).__name__}: {error!s:.200}); {_HOW}") from error


def drawn(shapes: Shapes, size: Size) -> np.ndarray:
    """Return (H, W) bool over a picture of `size`, True = hole.

    Raises:
        MaskInvalid: a shape is empty, or its runs do not fill the picture.
    """
    width, height = size
    hole = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom in shapes.boxes:
        if right <= left or bottom <= top:
            raise MaskInvalid(
                f"mask: box {[left, top, right, bottom]} is empty; right and bottom must be larger than left and top; "
                'x, y, width and height are what "bbox" holds'
            )
        rows = slice(max(math.floor(top), 0), max(math.ceil(bottom), 0))
        hole[rows, max(math.floor(left), 0) : max(math.ceil(right), 0)] = True
    for runs in shapes.runs:
        hole |= _run_out(runs, size)
    canvas = Image.new("1", size)
    for polygon in shapes.polygons:
        if len(polygon) < 3:
            raise MaskInvalid(f"mask: a polygon of {len(polygon)} points; it needs three")
        ImageDraw.Draw(canvas).polygon([(x, y) for x, y in polygon], fill=1, outline=1)
    return np.asarray(hole | np.asarray(canvas))


def shapes_to_json(boxes: Sequence[Any] = (), polygons: Sequence[Any] = ()) -> bytes:
    """Return boxes and polygons of a manifest's columns as the bytes of a mask.

    Args:
        boxes: (left, top, right, bottom) each, in pixels of the picture as displayed; right and bottom are outside.
        polygons: three or more (x, y) each, or flat as COCO has them; pixels whose centre or edge they touch are inside.

    Raises:
        ValueError, TypeError: they are neither.
    """
    shapes = {"boxes": [list(box) for box in _boxes(boxes)], "polygons": [list(map(list, one)) for one in _polygons(polygons)]}
    return json.dumps(shapes).encode()


def _read(document: Any) -> Shapes:
    if isinstance(document, list):
        if not document or not all(isinstance(entry, dict) for entry in document):
            raise ValueError("a list that may mean boxes or a polygon")
        return _annotated(document)
    if "annotations" in document:
        return _coco(document)
    if "shapes" in document:
        return _labelme(document)
    if "counts" in document or {"segmentation", "bbox"} & set(document):
        return _annotated([{"segmentation": document} if "counts" in document else document])
    unknown = set(document) - _OURS
    if unknown:
        raise ValueError(f"unknown key {sorted(unknown)[0]!r:.80}; known: {', '.join(sorted(_OURS))}")
    return Shapes(_boxes(document.get("boxes", [])), _polygons(document.get("polygons", [])))


def _coco(document: dict[str, Any]) -> Shapes:
    pictures, annotations = document.get("images", []), document["annotations"]
    ids = {annotation.get("image_id") for annotation in annotations}
    if max(len(pictures), len(ids)) > 1:
        raise MaskInvalid(
            f"mask: a COCO file of {max(len(pictures), len(ids))} pictures is not the mask of one; "
            "`repaint-batch manifest build --images FOLDER --masks FILE.json` makes a manifest of it"
        )
    shapes = _annotated(annotations)
    return _of_size(shapes, (pictures[0]["width"], pictures[0]["height"]) if pictures else None)


def _annotated(annotations: Sequence[dict[str, Any]]) -> Shapes:
    shapes = Shapes()
    for annotation in annotations:
        drawn_as, box = annotation.get("segmentation"), annotation.get("bbox")
        if isinstance(drawn_as, dict):
            height, width = drawn_as["size"]
            shapes.runs.append(_runs(drawn_as["counts"]))
            shapes = _of_size(shapes, (width, height))
        elif drawn_as:
            shapes.polygons += _polygons(drawn_as)
        elif box:
            for left, top, width, height in _boxes(box):
                shapes.boxes.append((left, top, left + width, top + height))
        else:
            raise ValueError("an annotation without segmentation and bbox")
    return shapes


def _labelme(document: dict[str, Any]) -> Shapes:
    shapes = Shapes()
    for shape in document["shapes"]:
        points, kind = [_numbers(point, 2) for point in shape["points"]], shape.get("shape_type") or "polygon"
        if kind == "rectangle" and len(points) == 2:
            (x0, y0), (x1, y1) = points
            points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        elif kind == "circle" and len(points) == 2:
            radius = math.dist(*points)
            turns = (2 * math.pi * step / 64 for step in range(64))
            points = [(points[0][0] + radius * math.cos(turn), points[0][1] + radius * math.sin(turn)) for turn in turns]
        elif kind != "polygon":
            raise ValueError(f"a shape of type {kind!r:.40}; polygon, rectangle and circle are read")
        shapes.polygons.append(points)
    width, height = document.get("imageWidth"), document.get("imageHeight")
    return _of_size(shapes, None if width is None or height is None else (width, height))


def _of_size(shapes: Shapes, size: tuple[Any, Any] | None) -> Shapes:
    if size is None:
        return shapes
    known = (int(size[0]), int(size[1]))
    if known != tuple(size) or min(known) < 1:
        raise ValueError(f"no size of a picture: {size!r:.80}")
    if shapes.size not in (None, known):
        raise ValueError(f"two sizes of the picture, {shapes.size} and {known}")
    shapes.size = known
    return shapes


def _boxes(boxes: Any) -> list[tuple[float, ...]]:
    return [_numbers(box, 4) for box in ([boxes] if _is_flat(boxes) else boxes)]


def _polygons(polygons: Any) -> list[Points]:
    if _is_flat(polygons) or (len(polygons) > 2 and all(_is_flat(point) and len(point) == 2 for point in polygons)):
        polygons = [polygons]  # one alone
    found = []
    for polygon in polygons:
        if _is_flat(polygon):
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a flat polygon of {len(polygon)} numbers; x, y, x, y, ... are six or more, and even")
            polygon = list(zip(polygon[::2], polygon[1::2], strict=True))
        found.append([_numbers(point, 2) for point in polygon])
    return found


def _is_flat(values: Any) -> bool:
    return bool(len(values)) and all(isinstance(value, int | float) for value in values)


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(abs(value) < _MOST for value in numbers):
        raise ValueError(f"expected {count} numbers, got {values!r:.80}")
    return numbers


def _runs(counts: Any) -> list[int]:
    runs = _uncompressed(counts) if isinstance(counts, str) else list(counts)
    if not all(isinstance(run, int) and 0 <= run < _MOST for run in runs):
        raise ValueError("run lengths that are no whole numbers from 0 upwards")
    return runs


def _uncompressed(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for char in text:
        group = ord(char) - 48
        if not 0 <= group < 64 or shift > 60:
            raise ValueError("compressed run lengths that are none of COCO's")
        value |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            value -= (1 << shift) if group & 0x10 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that end too early")
    return runs


def _run_out(runs: list[int], size: Size) -> np.ndarray:
    width, height = size
    if sum(runs) != width * height:
        raise MaskInvalid(f"mask: its runs cover {sum(runs):,} pixels, the picture has {width * height:,}; export it anew")
    is_hole = np.arange(len(runs)) % 2 == 1
    return np.repeat(is_hole, runs).reshape(width, height).T
