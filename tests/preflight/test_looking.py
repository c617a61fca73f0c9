"""What a look finds in corpora with one thing wrong each."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.images.restoration import prepare
from repaint_batch.manifest import open_manifest
from repaint_batch.preflight.findings import Findings
from repaint_batch.preflight.looking import _sampled, preflight

from ..conftest import Place
from ..corpus import SIZE_PX, encoded, hole, job, picture, rows, write_manifest
from ..damage.torn import torn


def inline(data: bytes | None) -> dict[str, Any]:
    return {"bytes": data, "path": None}


def looked_at(place: Place, corpus: list[dict[str, Any]], count: int | None = None, **sections: Any) -> Findings:
    uri = write_manifest(place, corpus)
    config = job(place, uri, "unused", **sections)
    return preflight(config, open_manifest(uri, place.storage), place.storage, count, resolution_px=SIZE_PX)


def test_a_sound_corpus_has_no_warnings_and_exact_totals(place: Place) -> None:
    corpus = rows(5)
    place.storage.write(f"{place.uri}/files/a.png", encoded(picture(90, 60)))
    corners = np.zeros((60, 60), dtype=np.uint8)
    corners[:5, :5] = corners[-5:, -5:] = 255
    place.storage.write(f"{place.uri}/files/m.png", encoded(corners))
    corpus[0] |= {"image": {"bytes": None, "path": "files/a.png"}, "mask": {"bytes": None, "path": "files/m.png"}}
    found = looked_at(place, corpus)
    assert (found.rows, found.looked, found.failing, found.warnings()) == (5, 5, 0, [])
    images = job(place, "m", "p").images
    alone = len(prepare(encoded(picture(90, 60)), encoded(corners), images, SIZE_PX).windows)
    assert alone > 1
    assert (found.windows, found.windows_margin, found.whole) == (alone + 4, 0, True)
    assert found.hole_fraction == pytest.approx((4 * 0.25 + 50 / 3600) / 5)


def test_what_would_be_found_is_shown_first_and_counted(local_place: Place) -> None:
    corpus = rows(9)
    for number in range(8):
        corpus[number] |= {"image": inline(torn(number, is_torn=number in (5, 7))), "mask": inline(None)}
    images = {"masks": {"find": ["edges"]}}
    config = job(local_place, write_manifest(local_place, corpus), "unused", images=images)
    found = preflight(config, open_manifest(config.input.manifest, local_place.storage), local_place.storage, drawn=3)
    assert (found.failing, found.searched, found.marked, found.holeless, found.warnings()) == (0, 8, 2, False, [])
    assert 0 < found.hole_fraction < 0.1
    assert found.core_hours == found.cpu_s / 3600 > 0
    assert [sample_id for sample_id, _ in found.thumbnails[:2]] == ["picture-0005", "picture-0007"]
    reds = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[0, 0, 0] for _, data in found.thumbnails]
    assert len(reds) == 3
    assert min(reds[:2]) > 200 > reds[2], "tinted where it is torn"


def faulty(name: str) -> dict[str, Any]:
    large = encoded(picture(1, 40))
    dust = np.zeros((200, 200), dtype=np.uint8)
    dust[::20, ::20] = 255
    return {
        "long id": {"sample_id": "i" * 1025},
        "missing": {"image": {"bytes": None, "path": "absent.png"}},
        "refused": {"mask": {"bytes": None, "path": "../secret.png"}},
        "unreadable picture": {"image": inline(b"<html>not found</html>")},
        "unreadable mask": {"mask": inline(encoded(hole(1))[:-30])},
        "sizes differ": {"image": inline(large)},
        "too many windows": {"image": inline(encoded(picture(1, 200))), "mask": inline(encoded(dust))},
        "no hole": {"mask": inline(encoded(np.zeros((SIZE_PX, SIZE_PX), np.uint8)))},
        "all hole": {"mask": inline(encoded(np.full((SIZE_PX, SIZE_PX), 255, np.uint8)))},
        "duplicate": {name: rows(1)[0][name] for name in ("image", "mask")},
    }[name]


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        ("long id", True),
        ("missing", True),
        ("refused", True),
        ("unreadable picture", True),
        ("unreadable mask", True),
        ("sizes differ", True),
        ("too many windows", True),
        ("no hole", False),
        ("all hole", False),
        ("duplicate", False),
    ],
)
def test_each_fault_is_told_from_the_others(local_place: Place, kind: str, fails: bool) -> None:
    corpus = rows(4)
    corpus[2] |= faulty(kind)
    found = looked_at(local_place, corpus, images={"max_windows": 20})
    expected = {kind: 1} | ({"mostly hole": 1} if kind == "all hole" else {})
    assert (found.kinds, found.failing) == (expected, int(fails))
    named = "iiii" if kind == "long id" else "picture-0002"
    assert any(line.startswith(f"{kind}: 1 of 4") and named in line for line in found.warnings())
    assert not found.all_bad
    assert not found.inverted


def test_inverted_masks_are_noticed_and_the_setting_cures_them(local_place: Place) -> None:
    corpus = rows(6)
    for number, row in enumerate(corpus):
        row["mask"] = inline(encoded(255 - hole(number)))
    found = looked_at(local_place, corpus)
    assert found.inverted
    assert found.warnings()[0] == (
        "polarity: most masks are mostly hole, 75% on average; images.hole is white; should it be black?"
    )
    assert looked_at(local_place, corpus, images={"hole": "black"}).warnings() == []


def test_a_manifest_of_bad_rows_only(local_place: Place) -> None:
    corpus = rows(30)
    for row in corpus:
        row["image"] = {"bytes": None, "path": "gone.png"}
    assert looked_at(local_place, corpus, 10).all_bad
    corpus[7]["image"] = inline(encoded(picture(7)))
    assert not looked_at(local_place, corpus).all_bad


def test_a_sample_estimates_the_whole(local_place: Place) -> None:
    corpus = rows(120)
    blank = inline(encoded(np.zeros((SIZE_PX, SIZE_PX), np.uint8)))
    for row in corpus[::3]:
        row["mask"] = blank
    found = looked_at(local_place, corpus, 60)
    assert found.looked == 60
    assert abs(found.windows - 80) <= 2 * found.windows_margin
    assert 0 < found.windows_margin < 40
    again = looked_at(local_place, corpus, 60)
    assert again.named == found.named, "a second look sees the same rows"


@given(total=st.integers(1, 3000), wanted=st.integers(1, 3000), seed=st.integers(0, 2**32))
def test_samples_are_as_many_rows_as_asked_for_each_once(total: int, wanted: int, seed: int) -> None:
    spans = _sampled(total, wanted, random.Random(seed))
    seen = [row for start, stop in spans for row in range(start, stop)]
    assert seen == sorted(set(seen))
    assert len(seen) == min(total, wanted)
    assert 0 <= seen[0] <= seen[-1] < total


def test_a_look_writes_nothing(local_place: Place) -> None:
    looked_at(local_place, rows(2))
    assert [path.name for path in Path(local_place.uri).iterdir()] == ["manifest.parquet"]
