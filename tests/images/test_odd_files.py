"""Files drawn over format, mode, depth, layout and metadata come back equal, or are refused with the reason: none is wrong."""

import os
import warnings
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ImageInvalid, RepaintBatchError
from repaint_batch.images.orientation import stored
from repaint_batch.images.restoration import compose, prepare

from .cases import all_cases
from .corpus import saved
from .judge import box, verdict
from .odd_files import HEIGHT, HOLE, MAKERS, WIDTH, Drawn, OddFile

CONFIG = ImagesConfig()
RESOLUTION = 32
KINDS = list(MAKERS)
EDGE = np.ones((3, 3), np.uint8)


def mask() -> bytes:
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = 255
    return saved(Image.fromarray(drawn), "PNG")


def outcome(odd: OddFile) -> str:
    """Return the judge's verdict of what becomes of a file."""
    try:
        prepared = prepare(odd.data, mask(), CONFIG, RESOLUTION)
        filled = np.full((len(prepared.plan), RESOLUTION, RESOLUTION, 3), 0.37, np.float32)
        done = compose(odd.data, mask(), filled, CONFIG, RESOLUTION, "source")
    except ImageInvalid as error:
        return f"refused: {error}"
    return verdict(odd, done.data, done.dropped)


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest):
    rows: list[tuple[str, str]] = []
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print()
        for name, found in rows:
            print(f"{name:60} {found}")
        words = Counter(found.split(":")[0].split(";")[0] for _, found in rows)
        print(", ".join(f"{count} {word}" for word, count in sorted(words.items())))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("odd", all_cases(), ids=lambda odd: odd.name)
def test_a_known_case_is_equal_or_refused(odd: OddFile, table: list[tuple[str, str]]) -> None:
    found = outcome(odd)
    table.append((odd.name, found))
    if odd.refused:
        assert found.startswith("refused: picture: ")
        assert odd.refused in found
    else:
        assert found.startswith("equal")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif("REPAINT_CASES" not in os.environ, reason="REPAINT_CASES names no folder of pictures/ and masks/")
def test_cases_of_a_folder(table: list[tuple[str, str]]) -> None:
    """Every picture of a folder comes back equal outside the mask of the same stem, with what went named, or is refused."""
    folder = Path(os.environ["REPAINT_CASES"])
    masks = {path.stem: path for path in (folder / "masks").iterdir()}
    found = []
    for path in sorted((folder / "pictures").iterdir()):
        if path.stem in masks:
            found.append((path.name, outcome_of_pair(path.name, path.read_bytes(), masks[path.stem].read_bytes())))
    table += found
    assert not [row for row in found if not row[1].startswith(("equal", "refused: "))]


def outcome_of_pair(name: str, data: bytes, drawn: bytes) -> str:
    try:
        prepared = prepare(data, drawn, CONFIG, RESOLUTION)
        # Far from what is there, so that the coarsest JPEG shows that something was restored.
        shade = -0.8 if prepared.windows.mean() > 0 else 0.8
        filled = np.full((len(prepared.plan), RESOLUTION, RESOLUTION, 3), shade, np.float32)
        done = compose(data, drawn, filled, CONFIG, RESOLUTION, "source")
    except RepaintBatchError as error:
        return f"refused: {error}"
    seen = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_GRAYSCALE)
    # Masks of other kinds than white on black mean the same box in every folder of cases; a polygon's edge belongs to it.
    hole = seen > 0 if seen is not None and set(np.unique(seen)) == {0, 255} else cv2.dilate(box().astype(np.uint8), EDGE) > 0
    return verdict(OddFile(name, data, done.format), done.data, done.dropped, stored(hole, prepared.orientation))


def drawn_file(seed: int) -> tuple[OddFile, dict[str, object]]:
    choices = Drawn(np.random.default_rng(seed))
    return MAKERS[choices("format", KINDS)](choices), choices.made


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_whatever_is_drawn_comes_back_or_is_refused(seed: int) -> None:
    odd, made = drawn_file(seed)
    found = outcome(odd)
    assert not found.startswith("WRONG"), (found, made)
    assert not found.startswith("refused"), (found, made)


@pytest.mark.slow
def test_two_thousand_files() -> None:
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(2000):
            odd, made = drawn_file(seed)
            found = outcome(odd)
            counts[odd.kind, found.split(";")[0].split(":")[0]] += 1
            if not found.startswith("equal"):
                wrong.append((seed, found, made))
    for (kind, word), count in sorted(counts.items()):
        print(f"{kind:10} {word:10} {count:5}")
    assert not wrong, wrong[:5]
