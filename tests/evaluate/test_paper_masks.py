"""The six masks at any resolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.evaluate.paper_masks import MASKS, NARROW, WIDE, draw_strokes, paper_mask

SIDES = st.integers(4, 80)


@given(st.sampled_from(MASKS), SIDES, SIDES, st.integers(0, 999))
@settings(deadline=None, max_examples=80)
def test_every_mask_has_a_hole_and_something_known_and_is_its_seed_s(name, height, width, seed):
    keep = paper_mask(name, height, width, seed)
    assert keep.shape == (1, height, width)
    assert keep.dtype == torch.bool
    assert 0 < int(keep.sum()) < height * width
    assert torch.equal(keep, paper_mask(name, height, width, seed))


@given(st.sampled_from([WIDE, NARROW]), SIDES, SIDES, st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_strokes_hide_at_most_half(strokes, height, width, seed):
    assert int((~draw_strokes(strokes, height, width, seed)).sum()) <= height * width / 2


def test_fixed_masks_are_those_of_the_paper():
    known = {name: paper_mask(name, 256, 256)[0] for name in ("sr2x", "altlines", "half", "expand")}
    assert {name: int(mask.sum()) for name, mask in known.items()} == {
        "sr2x": 128 * 128,
        "altlines": 128 * 256,
        "half": 256 * 128,
        "expand": 64 * 64,
    }
    assert bool(known["sr2x"][::2, ::2].all())
    assert bool(known["altlines"][::2].all())
    assert bool(known["half"][:, :128].all())
    assert bool(known["expand"][96:160, 96:160].all())


def test_wide_holes_are_thicker_than_narrow_ones():
    def depth(name):
        """Return how deep holes go: the share of hole pixels whose four neighbours 4 px away are hole too."""
        found = []
        for seed in range(12):
            hole = ~paper_mask(name, 256, 256, seed)[0]
            inner = hole & hole.roll(4, 0) & hole.roll(-4, 0) & hole.roll(4, 1) & hole.roll(-4, 1)
            found.append(float(inner.sum() / hole.sum()))
        return sum(found) / len(found)

    assert depth("wide") > 0.6 > 0.3 > depth("narrow")


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_seeds_draw_different_masks_of_like_area(name):
    small = [float((~paper_mask(name, 64, 64, seed)).float().mean()) for seed in range(30)]
    large = [float((~paper_mask(name, 128, 128, seed)).float().mean()) for seed in range(30)]
    assert len(set(small)) > 20
    assert sum(small) / 30 == pytest.approx(sum(large) / 30, rel=0.5)
