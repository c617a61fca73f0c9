"""RePaint against exact posteriors, and the law of its jumps."""

import pytest
import torch

from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.sampler.path import Jump, Reverse, Undo, jump_times, moves
from repaint_batch.sampler.repaint import RePaint, repaint_steps
from repaint_batch.sampler.run import sample

from .oracles import distance, gaussian_prior, mixture_prior


@pytest.mark.parametrize("prior", [gaussian_prior(), mixture_prior()], ids=["gaussian", "mixture"])
def test_samples_approach_the_exact_posterior_as_r_grows(prior: GaussianMixture):
    distances = [distance(RePaint(100, 10, r), prior, 1000) for r in (1, 3, 8)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.6 * distances[0]


def test_without_known_pixels_it_samples_the_prior():
    prior = gaussian_prior()
    # All 1000 steps: the ancestral step's variance is a lower bound, 250 steps of it lose a tenth of this prior's.
    x = torch.zeros((4000, 1, 2, 3))
    nothing = torch.zeros((4000, 1, 2, 3), dtype=torch.bool)[:, :1]
    sampled = sample(RePaint(1000, 10, 1), prior, x, nothing, range(4000))
    flat = sampled.reshape(len(x), -1).double()
    torch.testing.assert_close(flat.mean(0), prior.mixture.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(flat.T), prior.mixture.covariance, atol=0.006, rtol=0)


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (3, 4), (200, 260), (988, 998)])
def test_a_jump_that_is_folded_into_its_step_has_the_law_of_single_steps_up(start, stop):
    """x' = cx x + c0 m + cn z, then one Gaussian a level: mean and variance must come out the same."""
    process = gaussian_prior().schedule
    (once,) = repaint_steps(process, [Reverse(start + 1)])
    (folded, _) = repaint_steps(process, [Reverse(start + 1), Undo(start, stop), Reverse(stop)])
    scale, variance = 1.0, once.hole.cn**2
    for level in range(start + 1, stop + 1):
        ratio = float(process.alpha_bar[level] / process.alpha_bar[level - 1])
        scale, variance = scale * ratio**0.5, variance * ratio + 1 - ratio
    assert folded.hole.cx == pytest.approx(scale * once.hole.cx, rel=1e-6)
    assert folded.hole.c0 == pytest.approx(scale * once.hole.c0, rel=1e-6)
    assert folded.hole.cn**2 == pytest.approx(variance, rel=1e-6)
    a_bar = float(process.alpha_bar[stop])
    assert (folded.known.cy, folded.known.cn) == (pytest.approx(a_bar**0.5), pytest.approx((1 - a_bar) ** 0.5))


def test_the_path_collapses_undo_steps_by_default():
    times = jump_times(30, [Jump(5, 2)])
    assert {step.stop - step.start for step in moves(times) if isinstance(step, Undo)} == {5}
