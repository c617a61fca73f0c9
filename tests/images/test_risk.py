"""The risk of a restoration: bounded, the same whichever way the picture lies, higher for larger holes, and put into words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.images.risk import LIKELY, Evidence, Features, Risk, continued, risk_of

features = st.builds(Features, st.floats(1e-5, 1), st.floats(2e-3, 2))


def told(rgb: np.ndarray, hole: np.ndarray) -> Risk:
    evidence = Evidence()
    evidence.add_page(hole)
    evidence.add(rgb, hole, (slice(None), slice(None)))
    return evidence.risk()


def picture(seed: int, side: int = 48) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(0, 0.2, (side, side, 3)).cumsum(0).cumsum(1) / 10, -1, 1).astype(np.float32)


def square(hole_px: int, side: int = 48) -> np.ndarray:
    hole = np.zeros((side, side), bool)
    hole[8 : 8 + hole_px, 8 : 8 + hole_px] = True
    return hole


@given(features, features)
def test_a_risk_is_bounded_and_grows_with_the_hole_and_with_what_was_made_up(one: Features, other: Features) -> None:
    low, high = (Features(*(pick(pair) for pair in zip(one, other, strict=True))) for pick in (min, max))
    lower, higher = risk_of(low), risk_of(high)
    assert 0 <= lower.score <= higher.score <= 1  # type: ignore[operator]
    assert bool(higher.reason) == (higher.score >= LIKELY)  # type: ignore[operator]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(2, 20))
def test_it_is_the_same_whichever_way_the_picture_lies(seed: int, hole_px: int) -> None:
    rgb, hole = picture(seed), square(hole_px)
    score = told(rgb, hole).score
    for turned, its in ((rgb[::-1], hole[::-1]), (rgb.swapaxes(0, 1), hole.T), (rgb[:, ::-1], hole[:, ::-1])):
        assert told(turned, its).score == pytest.approx(score, abs=0.0011)


@pytest.mark.parametrize("hole_px", [3, 9, 20])
def test_a_flat_hole_in_flat_surroundings_has_no_relief_and_a_spot_in_it_has(hole_px: int) -> None:
    rgb, hole = np.full((48, 48, 3), 0.25, np.float32), square(hole_px)
    assert np.allclose(continued(rgb, ~hole), rgb, atol=1e-3)
    flat = told(rgb, hole)
    rgb[9, 9] = 1
    assert told(rgb, hole).features.relief > 2 * flat.features.relief  # type: ignore[union-attr]
    assert flat.features.share == pytest.approx(hole_px**2 / (hole_px + 24) ** 2)  # type: ignore[union-attr]


def test_parts_of_a_picture_tell_what_the_whole_tells() -> None:
    rgb, hole = picture(1, 128), square(100, 128)
    evidence = Evidence()
    evidence.add_page(hole)
    for rows in (slice(0, 64), slice(64, 128)):
        evidence.add(rgb, hole, (rows, slice(None)))
    assert evidence.risk().score == told(rgb, hole).score


def test_without_known_pixels_or_without_a_hole_nothing_can_be_told() -> None:
    for hole in (np.zeros((8, 8), bool), np.ones((8, 8), bool)):
        assert told(picture(0, 8), hole).score is None
