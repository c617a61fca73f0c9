"""A prior tried where the truth is known: exact priors on pictures of their own law, and on those of another."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repaint_batch.inpainting.fit import Fit, fit_of, made_holes, smooth_filling
from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.sampler.presets import PRESETS

SIDE, COUNT = 8, 64


def smooth_law(length_px: float, std: float = 0.3) -> GaussianMixture:
    """Return a Gaussian field of grey pictures whose pixels agree over some pixels."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    points = torch.stack([y.ravel(), x.ravel()], 1).double()
    covariance = std**2 * torch.exp(-torch.cdist(points, points).square() / (2 * length_px**2))
    mean = torch.zeros(SIDE * SIDE).double()
    return GaussianMixture.gaussian(mean, covariance + 1e-6 * torch.eye(SIDE * SIDE), (1, SIDE, SIDE))


def holes(side: int = SIDE) -> Tensor:
    keep = torch.ones(COUNT, side, side, dtype=torch.bool)
    keep[:, 1:4, 1:4] = False
    return keep


def test_a_prior_fits_what_it_draws_itself() -> None:
    law = smooth_law(1.5)
    pictures = law.sample(COUNT, torch.Generator().manual_seed(0)).float()
    fit = fit_of(law, PRESETS["fast"], pictures, holes())
    assert len(fit.restored) == COUNT
    assert not fit.is_poor
    assert fit.restored_db > fit.smooth_db - 3.01
    assert fit.warning("mine") is None


def test_a_prior_of_other_pictures_is_told() -> None:
    pictures = smooth_law(3.0).sample(COUNT, torch.Generator().manual_seed(0)).float()
    fit = fit_of(smooth_law(0.5), PRESETS["fast"], pictures, holes())
    assert fit.is_poor
    says = fit.warning("bundled:emoji")
    assert says is not None
    assert says.startswith("prior.source: bundled:emoji does not fit these pictures: in 64 holes made in known pixels")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_made_holes_lie_where_the_truth_is_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keep = torch.from_numpy(rng.random((3, 8, 8)) < rng.uniform(0.3, 1))
    made = made_holes(keep)
    assert not (made & ~keep).any()
    assert (made.sum((1, 2)) <= (~keep).sum((1, 2))).all()
    alone = torch.ones(1, 8, 8, dtype=torch.bool)
    alone[0, :2, :2] = False
    assert int(made_holes(alone).sum()) == 4


@given(st.integers(0, 2**32 - 1), st.integers(5, 17))
@settings(max_examples=20, deadline=None)
def test_a_smooth_filling_stays_within_its_surroundings_and_keeps_them(seed: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(2, 3, side, side, generator=generator) * 2 - 1
    keep = torch.rand(2, 1, side, side, generator=generator) < 0.5
    keep[:, :, 0, 0] = True
    filled = smooth_filling(torch.where(keep, known, torch.nan), keep)
    assert torch.equal(torch.where(keep, filled, 0), torch.where(keep, known, 0))
    assert filled.amin() >= known.amin() - 1e-6
    assert filled.amax() <= known.amax() + 1e-6
    flat = smooth_filling(torch.where(keep, 0.25, torch.nan), keep)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.25))


@pytest.mark.parametrize("places", [0, 1, 3])
def test_few_places_show_nothing(places: int) -> None:
    assert not Fit((1.0,) * places, (0.01,) * places).is_poor
