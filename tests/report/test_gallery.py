"""The gallery's data: what is cut out of a block is what was put in, and the worst rows are kept."""

import base64
import gzip
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.report import gallery
from repaint_batch.report.gallery import PICTURE_BYTES, Packed, Selection, pack, row_bytes
from repaint_batch.report.thumbnails import Thumbnails

from .fabricated import result_row

NONE = Thumbnails()


def unpacked(packed: Packed) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(packed.rows)))


part = st.none() | st.binary(min_size=1, max_size=50)


@settings(deadline=None)
@given(st.lists(st.builds(Thumbnails, part, part, part, part, part), max_size=12), st.integers(10, 200))
def test_pieces_cut_from_blocks_are_the_pictures(pictures: list[Thumbnails], block_chars: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "BLOCK_CHARS", block_chars)
        packed = pack([(result_row(number), made) for number, made in enumerate(pictures)])
    for (block, start, *lengths), made in zip(unpacked(packed)["places"], pictures, strict=True):
        for length, data in zip(lengths, made.parts, strict=True):
            piece = packed.blocks[block][start : start + length]
            assert (base64.b64decode(piece, validate=True) if piece else None) == data
            start += length
    assert sum(map(len, packed.blocks)) >= sum(len(data or b"") for made in pictures for data in made.parts)


def test_values_come_through_and_only_text_of_the_owners() -> None:
    row = {**result_row(1), "risk": math.nan, "title": "Löwe </script>", "thumb": b"\x00", "output": b"not embedded"}
    data = unpacked(pack([(row, NONE)]))
    assert data["own"] == {"title": ["Löwe </script>"], "thumb": [None]}
    assert data["columns"]["sample_id"] == ["pictures/00001"]
    assert data["columns"]["risk"] == [None]
    assert data["columns"]["finished_at"] == [row["finished_at"].timestamp()]
    assert "output" not in data["columns"]


def test_nothing_packs_to_nothing() -> None:
    packed = pack([])
    assert packed.count == 0
    assert unpacked(packed)["places"] == []


@settings(deadline=None)
@given(st.integers(0, 100_000))
def test_pictures_of_all_rows_fit(rows: int) -> None:
    assert sum(row_bytes(rows)) * min(rows, gallery.MAX_ROWS) <= PICTURE_BYTES


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.none() | st.floats(0, 1)), max_size=60), st.integers(4, 12).map(lambda n: 4 * n)
)
def test_the_worst_rows_are_kept_in_their_order(offers: list[tuple[bool, float | None]], most: int) -> None:
    rows = [
        {**result_row(number), "status": "failed" if failed else "ok", "risk": None if failed else risk, "seam_score": 1.0}
        for number, (failed, risk) in enumerate(offers)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "MAX_ROWS", most)
        selection = Selection()
        for row in rows:
            selection.offer(row, NONE if selection.wants(row) else None)
        kept = [row for row, _ in selection.chosen()]
    assert selection.seen == len(rows)
    assert len(kept) == min(most, len(rows))
    assert [row["sample_id"] for row in kept] == sorted(row["sample_id"] for row in kept)
    others = sorted((row["risk"] or -1.0 for row in rows if row["status"] == "ok"), reverse=True)
    kept_others = sorted((row["risk"] or -1.0 for row in kept if row["status"] == "ok"), reverse=True)
    assert [s if s > 0 else 0 for s in kept_others] == [s if s > 0 else 0 for s in others[: len(kept_others)]]
    failed = sum(row["status"] == "failed" for row in rows)
    assert len(kept) - len(kept_others) >= min(failed, most // 4)
