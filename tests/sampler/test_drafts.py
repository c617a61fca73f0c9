"""Drafts: a chain that starts from one keeps what is right in it, and makes the rest as the prior would."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from repaint_batch.evaluate.metrics import energy_distance
from repaint_batch.evaluate.samplers import Langevin, Projected
from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.sampler.drafts import DraftBuffers
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.step import State, drift

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


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_a_chain_that_starts_from_a_draft_costs_what_its_entry_says(sampler: Sampler) -> None:
    prior, states = Counted(PRIOR), []
    known, keep = known_picture().expand(3, *SHAPE), left_known().expand(3, *SHAPE)
    restored = sample(sampler, prior, known, keep, [1, 2, 3], drafts=torch.zeros(3, *SHAPE), on_step=states.append)
    assert len(prior.calls) == len(states) == sampler.entry_nfe < sampler.nfe
    assert prior.calls[0] < 0.3 * len(PRIOR.schedule)
    assert bool(torch.isfinite(restored).all())


@pytest.mark.parametrize("sampler", [AnnealedLangevin(60), RePaint(100, 10, 3)], ids=["annealed", "repaint"])
def test_a_chain_that_starts_from_a_draft_follows_the_posterior(sampler: Sampler) -> None:
    """Started from exact samples, and held to them, it stays with them; a start that was wrong in law would be seen."""
    count = 1500
    posterior = PRIOR.conditional(known_picture(), left_known())
    start = known_picture().expand(count, *SHAPE).clone()
    keep = left_known().expand(count, *SHAPE)
    start[~keep] = posterior.sample(count, torch.Generator().manual_seed(1)).float().reshape(-1)
    keys = [sample_key(0, str(i)) for i in range(count)]
    restored = sample(sampler, PRIOR, known_picture().expand(count, *SHAPE), keep, keys, drafts=start)
    exact = posterior.sample(2000, torch.Generator().manual_seed(9)).float()
    entered = energy_distance(restored[~keep].reshape(count, -1), exact)
    assert entered < 1.5 * distance(sampler, PRIOR) + 0.002


@pytest.mark.parametrize("sampler", SAMPLERS, ids=IDS)
def test_what_is_held_keeps_the_drafts_colours_and_gets_the_priors_grain(sampler: Sampler) -> None:
    count = 24
    keep = boxed(4, 4, 20, 20).expand(count, 1, SIDE, SIDE)
    draft = torch.linspace(-0.6, 0.6, SIDE).expand(count, 1, SIDE, SIDE).contiguous()
    free = sample(sampler, GREY, draft, keep, range(count)) - draft
    held = sample(sampler, GREY, draft, keep, range(count), drafts=draft) - draft

    def off(difference: Tensor) -> float:
        return float(functional.avg_pool2d(difference[..., 4:20, 4:20], 8).abs().max())

    assert off(free) > 0.15, "this prior has no use for the draft's colours"
    assert off(held) < 0.25 * off(free)
    assert float(held[~keep].std()) == pytest.approx(0.02**0.5, rel=0.3)


@given(
    box=st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(12, 24), st.integers(12, 24)),
    position=st.integers(12, 39),
)
@settings(deadline=None, max_examples=40)
def test_a_draft_moves_predictions_in_the_hole_by_the_offset_that_they_lack(box: tuple[int, ...], position: int) -> None:
    keep = boxed(*box)
    x_t = 0.2 * torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(position))
    table = AnnealedLangevin(40).table(GREY.schedule)
    state = State(x_t, torch.zeros_like(x_t), keep, torch.zeros_like(x_t), torch.tensor([position]))
    own = drift(GREY, None, table, state).pred_x0
    buffers = DraftBuffers(x_t.shape, x_t.device)
    buffers.put(torch.tensor([0]), [0], [own[0] + 0.1], keep, lambda tensor: tensor)
    held = drift(GREY, None, table, state, buffers.held()).pred_x0
    assert torch.allclose(held[~keep], own[~keep] + 0.1, atol=2e-3)
    assert torch.equal(held[keep], own[keep])


def test_a_slot_without_a_draft_is_not_touched_by_its_neighbours() -> None:
    keep = boxed(4, 4, 20, 20).expand(2, 1, SIDE, SIDE)
    x_t = 0.2 * torch.randn(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    table = AnnealedLangevin(40).table(GREY.schedule)
    state = State(x_t, torch.zeros_like(x_t), keep, torch.zeros_like(x_t), torch.tensor([30, 31]))
    buffers = DraftBuffers(x_t.shape, x_t.device)
    buffers.put(torch.tensor([0, 1]), [0, 1], [None, torch.ones(1, SIDE, SIDE)], keep, lambda tensor: tensor)
    free, beside = (drift(GREY, None, table, state, held).pred_x0 for held in (None, buffers.held()))
    assert torch.equal(free[0], beside[0])
    assert not torch.equal(free[1], beside[1])
