"""What is found in one picture, and the mask that says so."""

import io

import numpy as np
import pytest
from PIL import Image

from repaint_batch.config import FindConfig, ImagesConfig
from repaint_batch.damage.finding import Known, find_damage, find_in, found_mask
from repaint_batch.images.masks import read_keep_mask

from .torn import SIDE_PX, torn

EDGES = FindConfig(find=("edges",))


def test_a_clean_picture_has_nothing() -> None:
    found, _ = find_in(torn(1, is_torn=False), EDGES, ImagesConfig())
    assert not found.hole.any()
    assert (found.shares, found.confidence, found.marks) == ({}, 0.0, 0)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("drawn_on", ["upright", "stored"])
def test_the_mask_lies_on_its_picture(orientation: int, drawn_on: str) -> None:
    images = ImagesConfig.model_validate({"mask_drawn_on": drawn_on, "masks": EDGES.model_dump()})
    held = io.BytesIO()
    picture = Image.open(io.BytesIO(torn(1)))
    picture.getexif()[0x0112] = orientation
    picture.save(held, "PNG", exif=picture.getexif())
    found, read = find_in(held.getvalue(), EDGES, images)
    mask = found_mask(found, read, images)
    assert Image.open(io.BytesIO(mask)).mode == "1"
    keep = read_keep_mask(mask, read, images)
    assert not keep[0, 0]  # of the picture as stored
    assert keep[-1, -1]
    assert found.shares["edges"] == pytest.approx(1 - keep.mean())


def test_what_a_corpus_tells_is_taken() -> None:
    overlay = np.zeros((SIDE_PX, SIDE_PX), bool)
    overlay[40:50, 40:60] = True
    settings = FindConfig(find=("overlay", "edges"))
    pixels = np.asarray(Image.open(io.BytesIO(torn(1))))
    found = find_damage(pixels, settings, Known(overlay=overlay))
    assert set(found.shares) == {"overlay", "edges"}
    assert found.hole[overlay].all()
    assert set(find_damage(pixels, settings, Known(overlay=overlay[1:])).shares) == {"edges"}
