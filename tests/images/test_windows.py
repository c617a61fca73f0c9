"""Windows cover every hole, at the finest scale that sees around it, and cost what the mask alone says."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.config import ImagesConfig
from repaint_batch.images.covering import cover
from repaint_batch.images.windows import Window, donors, leaves, plan_windows

R = 32


def mask_of(width: int, height: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    keep = np.ones((height, width), dtype=bool)
    for left, top, right, bottom in boxes:
        keep[top:bottom, left:right] = False
    return keep


def on_duty(windows: Sequence[Window], shape: tuple[int, int]) -> np.ndarray:
    covered = np.zeros(shape, dtype=bool)
    for window in windows:
        left, top, right, bottom = window.duty
        covered[top:bottom, left:right] = True
    return covered


def roots(windows: Sequence[Window]) -> list[Window]:
    return [window for window in windows if window.parent is None]


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    keep = np.ones((height, width), dtype=bool)
    for _ in range(draw(st.integers(0, 6))):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        keep[top : top + draw(st.integers(1, height)), left : left + draw(st.integers(1, width))] = False
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        keep &= rng.random(keep.shape) > draw(st.sampled_from([0.001, 0.1, 0.5]))
    return keep


@given(masks(), st.sampled_from([8, 16, 32, 64]), st.sampled_from([0.0, 0.125, 0.3]))
@settings(max_examples=150, deadline=None)
def test_every_unknown_pixel_is_on_the_duty_of_a_window_that_holds_it(keep: np.ndarray, resolution: int, context: float) -> None:
    windows = plan_windows(keep, resolution, context)
    assert (on_duty([windows[i] for i in leaves(windows)], keep.shape) | keep).all()
    height, width = keep.shape
    for window in windows:
        left, top, right, bottom = window.duty
        assert 0 <= window.left <= left < right <= window.left + window.side_px
        assert 0 <= window.top <= top < bottom <= window.top + window.side_px
        assert not keep[top:bottom, left:right].all(), "a window without anything to do"
        pitch = max(1, window.side_px // resolution)  # a grid of pixels wider than the picture's own may stick out
        assert window.left + min(window.side_px, width) < width + pitch
        assert window.top + min(window.side_px, height) < height + pitch
        assert resolution <= window.side_px <= max(resolution, width, height) or max(width, height) < resolution


@given(masks())
@settings(max_examples=50, deadline=None)
def test_the_plan_is_a_function_of_the_mask(keep: np.ndarray) -> None:
    assert plan_windows(keep, R) == plan_windows(keep.copy(order="F"), R)


def test_nothing_to_do_costs_nothing() -> None:
    assert plan_windows(mask_of(4000, 3000), 256) == ()


def test_a_picture_of_the_priors_size_is_one_window() -> None:
    assert plan_windows(mask_of(R, R, (3, 4, 20, 30)), R) == (Window(0, 0, R, (3, 4, 20, 30)),)


@pytest.mark.parametrize(("width", "height", "side"), [(20, 12, 20), (1, 1, 8), (32, 5, 32), (31, 31, 31)])
def test_a_small_picture_is_one_window(width: int, height: int, side: int) -> None:
    windows = plan_windows(mask_of(width, height, (0, 0, 1, 1)), R)
    assert [(w.left, w.top, w.side_px) for w in windows] == [(0, 0, side)]


def test_a_small_hole_is_one_window_with_context_all_round() -> None:
    (window,) = plan_windows(mask_of(400, 300, (200, 100, 224, 124)), R)
    assert window.side_px == R
    assert (window.left, window.top) == (196, 96)


def test_near_holes_share_a_window_and_far_ones_do_not() -> None:
    near = mask_of(400, 300, (100, 100, 104, 104), (112, 108, 118, 114))
    far = mask_of(400, 300, (100, 100, 104, 104), (300, 108, 306, 114))
    assert len(plan_windows(near, R)) == 1
    assert len(plan_windows(far, R)) == 2


def test_a_scratch_is_a_chain_at_full_scale() -> None:
    windows = plan_windows(mask_of(2000, 300, (50, 100, 1950, 103)), R)
    assert {w.side_px for w in windows} == {R}
    assert len(windows) <= math.ceil(1900 / 20)


@pytest.mark.parametrize("side", [40, 100, 200])
def test_a_thick_hole_is_one_coarse_window_with_context(side: int) -> None:
    (window,) = roots(plan_windows(mask_of(600, 500, (100, 90, 100 + side, 90 + side)), R))
    assert window.side_px == math.ceil(side / 0.75)
    assert window.left <= 100 - side // 8
    assert window.left + window.side_px >= 100 + side + side // 8


def test_what_is_scarcely_too_large_for_a_window_is_enlarged_and_left_at_that() -> None:
    (window,) = plan_windows(mask_of(600, 500, (100, 90, 135, 125)), R)
    assert R < window.side_px < 1.5 * R


def test_a_large_hole_is_solved_down_to_its_finest_scale() -> None:
    windows = plan_windows(mask_of(600, 500, (100, 90, 300, 290)), R)
    assert {windows[i].side_px for i in leaves(windows)} == {R}
    assert [w.side_px for w in roots(windows)] == [math.ceil(200 / 0.75)]
    assert len(leaves(windows)) <= 100, "81 would do; a row and a column for the remainders"


def test_finer_scales_are_left_out_where_they_take_too_many_windows() -> None:
    keep = mask_of(600, 500, (100, 90, 300, 290))
    whole = plan_windows(keep, R)
    some = plan_windows(keep, R, most=len(whole) - 1)
    assert 1 < len(some) < len(whole)
    assert min(w.side_px for w in some) > R
    assert plan_windows(keep, R, most=1) == tuple(roots(whole))


def by_hand(windows: Sequence[Window], mine: Window, resolution: int) -> set[int]:
    """Return the donors of a window, each other one looked at by itself."""
    found = set()
    for number, other in enumerate(windows):
        pitch, rest = divmod(mine.side_px, resolution)
        on_grid = not rest and (mine.left - other.left) % pitch == 0 and (mine.top - other.top) % pitch == 0
        (x0, y0, x1, y1), (a0, b0, a1, b1) = mine.square, other.duty
        touches = x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1
        if other.round < mine.round and other.side_px == mine.side_px and on_grid and touches:
            found.add(number)
    return found


@given(masks(), st.sampled_from([8, 16, 32]), st.sampled_from([0.0, 0.125, 0.3]))
@settings(max_examples=40, deadline=None)
def test_windows_of_a_round_do_not_need_each_other(keep: np.ndarray, resolution: int, context: float) -> None:
    windows = plan_windows(keep, resolution, context)
    found = donors(windows, resolution)
    assert [set(others) for others in found] == [by_hand(windows, window, resolution) for window in windows]
    for i, window in enumerate(windows):
        known = [windows[other] for other in found[i]]
        assert [one.round for one in known] == sorted(one.round for one in known)
        assert all(one.round < window.round and one.side_px == window.side_px for one in known)
        if window.parent is None:
            continue
        parent = windows[window.parent]
        assert window.parent < i
        assert parent.round < window.round
        assert 1.4 <= parent.side_px / window.side_px < 2.81
        pitch = window.side_px // resolution
        inside = (parent.square[0] - pitch, parent.square[1] - pitch, parent.square[2] + pitch, parent.square[3] + pitch)
        assert all(inside[axis] <= window.square[axis] for axis in (0, 1))
        assert all(window.square[axis] <= inside[axis] for axis in (2, 3))


def test_neighbours_on_a_scratch_take_turns() -> None:
    windows = plan_windows(mask_of(2000, 300, (50, 100, 1950, 103)), R)
    assert {window.round for window in windows} == {0, 1}
    assert all(others for others, window in zip(donors(windows, R), windows, strict=True) if window.round == 1)


def test_a_blot_on_a_scratch_does_not_coarsen_the_scratch() -> None:
    coarse, *chain = sorted(
        roots(plan_windows(mask_of(1000, 400, (20, 200, 980, 203), (400, 150, 500, 250)), R)), key=lambda w: -w.side_px
    )
    assert coarse.side_px >= 100 / 0.75
    assert coarse.duty[2] - coarse.duty[0] < 130
    assert {w.side_px for w in chain} == {R}


def test_a_long_wide_band_is_tiled_at_the_scale_of_its_width() -> None:
    windows = roots(plan_windows(mask_of(4000, 1000, (0, 100, 4000, 200)), R))
    assert all(100 / 0.75 <= w.side_px <= 512 for w in windows)
    assert len(windows) <= 4000 / (0.7 * 512) + 1


def specks(width: int, height: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    keep = np.ones((height, width), dtype=bool)
    for _ in range(count):
        side, left, top = rng.integers(2, 9), rng.integers(0, width - 9), rng.integers(0, height - 9)
        keep[top : top + side, left : left + side] = False
    return keep


def test_a_scan_with_thousands_of_specks_is_served_and_takes_scarcely_more_windows_than_any_plan_must() -> None:
    keep = specks(4000, 3000, 2000)
    windows = plan_windows(keep, 64)
    assert len(windows) <= ImagesConfig().max_windows
    assert {window.side_px for window in windows} == {64}
    # A greedy choice of duties, no two of which fit one window's core of 48 px together, bounds every plan from below.
    duties = np.array([box for box, _ in cover(~keep, 8, 0.0)])  # small boxes around single specks and clusters
    left, bound = np.ones(len(duties), dtype=bool), 0
    while left.any():
        first = duties[np.flatnonzero(left)[0]]
        low, high = np.minimum(duties[:, :2], first[:2]), np.maximum(duties[:, 2:], first[2:])
        left &= ((high - low) > 48).any(axis=1)
        bound += 1
    assert bound <= len(windows) <= 1.1 * bound


def test_many_specks_leave_a_large_hole_its_finest_scale() -> None:
    keep = specks(2000, 1500, 700)
    keep[600:900, 600:900] = False
    windows = plan_windows(keep, R)
    assert len(roots(windows)) > 512
    assert {windows[i].side_px for i in leaves(windows)} == {R}


def test_dense_masks_need_about_one_window_a_core() -> None:
    keep = np.ones((960, 1280), dtype=bool)
    keep[1::2] = False
    windows = plan_windows(keep, 64)
    assert {w.side_px for w in windows} == {64}
    assert len(windows) <= math.ceil(960 / 48) * math.ceil(1280 / 48)


def test_everything_unknown_starts_from_one_window() -> None:
    windows = plan_windows(np.zeros((300, 400), dtype=bool), R)
    assert roots(windows) == [Window(0, 0, 400, (0, 0, 400, 300))]
