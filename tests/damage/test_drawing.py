"""Damage is drawn exactly: the hole is what changed, nothing else does, and every seed draws another print's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.damage.drawing import DAMAGE, DamageName, draw_damage


@given(st.sampled_from(DAMAGE), st.integers(24, 200), st.integers(24, 200), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_outside_the_hole_nothing_changes_and_inside_something_does(name: DamageName, height: int, width: int, seed: int) -> None:
    damage = draw_damage(name, height, width, seed)
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = picture.copy()
    damaged = damage.over(picture)
    assert np.array_equal(picture, before)
    assert damaged.dtype == np.uint8
    assert damaged.shape == picture.shape
    assert np.array_equal(damaged[~damage.hole], picture[~damage.hole])
    assert 0 < damage.hole.mean() < 0.6
    assert (damaged[damage.hole] != picture[damage.hole]).any()
    assert 0 <= damage.cover.min() <= damage.cover.max() <= 1
    assert 0 <= damage.colour.min() <= damage.colour.max() <= 1


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_a_function_of_its_seed(name: DamageName) -> None:
    one, same, other = (draw_damage(name, 128, 160, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.cover, same.cover)
    assert np.array_equal(one.colour, same.colour)
    assert not np.array_equal(one.colour, other.colour)


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_grows_with_the_picture(name: DamageName) -> None:
    shares = [np.mean([draw_damage(name, side, side, seed).hole.mean() for seed in range(8)]) for side in (128, 384)]
    assert 0.3 < shares[1] / shares[0] < 2


def test_scratches_differ_in_width_tone_and_strength() -> None:
    drawn = [draw_damage("scratches", 256, 256, seed) for seed in range(12)]
    strengths = np.array([damage.cover.max() for damage in drawn])
    tones = np.array([damage.colour[damage.cover == damage.cover.max()].mean() for damage in drawn])
    assert strengths.max() - strengths.min() > 0.2
    assert (tones > 0.8).any()
    assert (tones < 0.2).any()


def test_a_crease_runs_from_edge_to_edge_and_a_torn_corner_holds_the_corner() -> None:
    for seed in range(6):
        crease = draw_damage("crease", 120, 150, seed).hole
        assert crease.any(axis=0).all() or crease.any(axis=1).all()
        torn = draw_damage("torn", 120, 150, seed).hole
        assert torn[0, 0] or torn[0, -1] or torn[-1, 0] or torn[-1, -1]
