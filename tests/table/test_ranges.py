"""Ranges are sets of rows; sets are the oracle."""

from hypothesis import given
from hypothesis import strategies as st

from repaint_batch.table.ranges import Ranges

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def rows_of(pairs: list[tuple[int, int]]) -> set[int]:
    return {row for start, stop in pairs for row in range(start, stop)}


@given(spans, spans)
def test_ranges_are_sets_of_rows(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> None:
    a, b = rows_of(ours), rows_of(theirs)
    left, right = Ranges.of(*ours), Ranges.of(*theirs)
    for ranges, rows in ((left, a), (left | right, a | b), (left & right, a & b), (left - right, a - b)):
        assert list(ranges) == sorted(rows)
        assert (len(ranges), bool(ranges)) == (len(rows), bool(rows))
        assert all(one[1] < two[0] for one, two in zip(ranges.spans, ranges.spans[1:], strict=False)), "disjoint, apart"
        assert ranges == Ranges.of_rows(rows), "one set has one form"
    assert [row in left for row in range(41)] == [row in a for row in range(41)]


@given(spans, st.integers(0, 40), st.integers(0, 40), st.integers(1, 9))
def test_covering_and_cutting(ours: list[tuple[int, int]], start: int, stop: int, most: int) -> None:
    ranges = Ranges.of(*ours)
    assert ranges.covers(start, stop) == (set(range(start, stop)) <= rows_of(ours))
    pieces = list(ranges.cut(most))
    assert [row for piece in pieces for row in range(*piece)] == list(ranges)
    assert all(0 < last - first <= most for first, last in pieces)


def test_a_million_rows_every_second_of_them_done() -> None:
    done = Ranges.of_rows(range(0, 1_000_000, 2))
    assert len(Ranges.of((0, 1_000_000)) - done) == 500_000
