"""Drafts: a chain that starts from one keeps what is right in it, and makes the rest as the prior would."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from repaint_batch.evaluate.metrics import energy_distance
from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.sampler.drafts import Held, enter
from repaint_batch.sampler.noise import KeyedNoise, sample_key
from repaint_batch.sampler.presets import AnnealedLangevin, Langevin, Projected, RePaint, Sampler
from repaint_batch.sampler.prior import Prediction

from .oracles import SHAPE, distance, known_picture, left_known, mixture_prior

SAMPLERS = [RePaint(40, 5, 2), Projected(40, jump_length=5, jump_n_sample=2), Langevin(10, 3), AnnealedLangevin(40)]
IDS = [type(sampler).__name__ for sampler in SAMPLERS]
PRIOR = mixture_prior()
SIDE = 24
GREY = GaussianMixture.gaussian(
    torch.zeros(SIDE**2, dtype=torch.float64), 0.02 * torch.eye(SIDE**2, dtype=torch.float64), (1, SIDE, SIDE)
)
"""A prior that takes every picture for grain on grey, whatever its colour."""


class Counted:
    """A prior that notes the times it is asked about."""

    def __init__(self, prior: GaussianMixture) -> None:
        self.prior, self.calls = prior, []
        self.schedule, self.fixed_large_variance = prior.schedule, False

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        self.calls.append(int(t[0]))
        return self.prior(x_t, t)


def boxed(*box: int) -> Tensor:
    """Return a keep mask with one hole."""
    keep = torch.ones(1, 1, SIDE, SIDE, dtype=torch.bool)
    keep[..., box[1] : box[3], box[0] : box[2]] = False
    return keep


def pred_x0(prior: GaussianMixture | Held, x_t: Tensor, t: int) -> Tensor:
    alpha_bar = GREY.schedule.alpha_bar[t].float()
    return (x_t - (1 - alpha_bar).sqrt() * prior(x_t, torch.full((len(x_t),), t)).eps) / alpha_bar.sqrt()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_a_chain_that_starts_from_a_draft_costs_what_its_entry_says(sampler: Sampler) -> None:
    noise, prior = KeyedNoise([1, 2, 3], SHAPE), Counted(PRIOR)
    state = enter(sampler, prior, torch.zeros(3, *SHAPE), noise)
    known, keep = known_picture().expand(3, *SHAPE), left_known().expand(3, *SHAPE)
    restored = sampler.sample(prior, known, keep, noise, resume=state)
    assert len(prior.calls) == sampler.entry_nfe < sampler.nfe
    assert prior.calls[0] < 0.3 * len(PRIOR.schedule)
    assert bool(torch.isfinite(restored).all())
    alpha_bar = PRIOR.schedule.alpha_bar[prior.calls[0]]
    assert state.x_t.std() == pytest.approx(float((1 - alpha_bar).sqrt()), rel=0.5)


@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("sampler", [AnnealedLangevin(60), RePaint(100, 10, 3)], ids=["annealed", "repaint"])
def test_a_chain_that_starts_from_a_draft_follows_the_posterior(sampler: Sampler, held: bool) -> None:
    """Started from exact samples it stays with them; a start that was wrong in law would be seen."""
    count = 1500
    posterior = PRIOR.conditional(known_picture(), left_known())
    start = known_picture().expand(count, *SHAPE).clone()
    keep = left_known().expand(count, *SHAPE)
    start[~keep] = posterior.sample(count, torch.Generator().manual_seed(1)).float().reshape(-1)
    noise = KeyedNoise([sample_key(0, str(i)) for i in range(count)], SHAPE)
    known = known_picture().expand(count, *SHAPE)
    prior = Held(PRIOR, start, keep) if held else PRIOR
    restored = sampler.sample(prior, known, keep, noise, resume=enter(sampler, PRIOR, start, noise))
    exact = posterior.sample(2000, torch.Generator().manual_seed(9)).float()
    entered = energy_distance(restored[~keep].reshape(count, -1), exact)
    assert entered < 1.5 * distance(sampler, PRIOR) + 0.002


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_what_is_held_keeps_the_drafts_colours_and_gets_the_priors_grain(sampler: Sampler) -> None:
    keep = boxed(4, 4, 20, 20)
    draft = torch.linspace(-0.6, 0.6, SIDE).expand(1, 1, SIDE, SIDE).contiguous()
    noise = KeyedNoise([7], (1, SIDE, SIDE))
    free, held = (
        sampler.sample(prior, draft, keep, noise, resume=enter(sampler, GREY, draft, noise)) - draft
        for prior in (GREY, Held(GREY, draft, keep))
    )

    def off(difference: Tensor) -> float:
        return float(functional.avg_pool2d(difference[..., 4:20, 4:20], 8).abs().max())

    assert off(free) > 0.15, "this prior has no use for the draft's colours"
    assert off(held) < 0.25 * off(free)
    assert float(held[~keep].std()) == pytest.approx(0.02**0.5, rel=0.3)


@given(box=st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(12, 24), st.integers(12, 24)), t=st.integers(5, 250))
@settings(deadline=None, max_examples=40)
def test_a_draft_moves_predictions_in_the_hole_by_the_offset_that_they_lack(box: tuple[int, ...], t: int) -> None:
    keep = boxed(*box)
    x_t = 0.2 * torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(t))
    own = pred_x0(GREY, x_t, t)
    held = pred_x0(Held(GREY, own + 0.1, keep), x_t, t)
    assert torch.allclose(held[~keep], own[~keep] + 0.1, atol=2e-3)
    assert torch.equal(held[keep], own[keep])
