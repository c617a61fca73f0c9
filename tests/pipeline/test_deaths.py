"""What is made of rows that die with their process: the guilty are found, the innocent come through, and it ends."""

from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.pipeline.passes import Lost, after_deaths
from repaint_batch.table.ranges import Ranges

from .playing import play


@given(
    st.integers(1, 40),
    st.sampled_from([1, 3, 8, 40]),
    st.sets(st.integers(0, 39), max_size=4),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=150)
def test_only_rows_that_die_alone_are_guilty_and_all_others_are_committed(
    rows: int, shard_rows: int, killers: set[int], limit: int
) -> None:
    killers = {row for row in killers if row < rows}
    committed, guilty, _, passes = play(rows, shard_rows, killers, limit)
    assert guilty == killers
    assert committed == set(range(rows)) - killers
    # However many shards suffer, they are halved together.
    assert passes <= limit + min(rows, shard_rows).bit_length() + 2


def test_a_row_whose_attempt_raised_is_neither_innocent_nor_guilty() -> None:
    before = [Lost(4, 8, 2)]
    lost, guilty = after_deaths(before, Ranges.of(), Ranges.of((4, 8)), 3)
    assert (lost, guilty) == ([Lost(4, 8, 2)], [])


def test_what_comes_through_is_forgotten() -> None:
    lost, guilty = after_deaths([Lost(0, 4, 3), Lost(4, 8, 3)], Ranges.of((4, 8)), Ranges.of(), 3)
    assert (lost, guilty) == ([Lost(4, 6, 4), Lost(6, 8, 4)], [])
