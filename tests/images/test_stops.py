"""Stops cover the hole, marks close together share one, long marks have several."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.images.stops import stops


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 12), st.integers(0, 2**32))
def test_every_pixel_of_a_hole_is_in_a_stop_that_is_no_larger_than_it_must_be(
    width: int, height: int, dots: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), dtype=bool)
    hole[rng.integers(0, height, dots), rng.integers(0, width, dots)] = True
    covered = np.zeros_like(hole)
    for left, top, right, bottom in stops(hole):
        part = hole[top:bottom, left:right]
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()
        covered[top:bottom, left:right] = True
    assert (covered | ~hole).all()


def test_the_largest_mark_is_first_and_a_long_one_has_a_stop_for_every_stretch() -> None:
    hole = np.zeros((2000, 3000), dtype=bool)
    hole[40:42, 40:42] = hole[44:46, 44:46] = True
    hole[1000:1006, 100:2900] = True
    *stretches, speck = stops(hole)
    assert speck == (40, 40, 46, 46)
    assert [box[1::2] for box in stretches] == [(1000, 1006)] * 3
    assert (stretches[0][0], stretches[-1][2]) == (100, 2900)
