"""RePaint against exact posteriors, and the law of its undo step."""

import pytest
import torch

from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.sampler.path import Jump, Undo, jump_times, steps
from repaint_batch.sampler.presets import RePaint
from repaint_batch.sampler.repaint import repaint

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
    nothing = torch.zeros((4000, 1, 2, 3), dtype=torch.bool)
    generator = torch.Generator().manual_seed(1)
    sampled = RePaint(1000, 10, 1).sample(prior, x, nothing, lambda *_: torch.randn(x.shape, generator=generator))
    flat = sampled.reshape(len(x), -1).double()
    torch.testing.assert_close(flat.mean(0), prior.mixture.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(flat.T), prior.mixture.covariance, atol=0.006, rtol=0)


def _law_of_undo(path: list[Undo]) -> tuple[float, float]:
    """Return the coefficient of x_t and the variance that `path` adds, exactly: noise is linear in each of its draws."""
    prior = gaussian_prior()
    hole = torch.zeros((1, 1, 2, 3), dtype=torch.bool)

    def run(start: float, unit: int | None) -> float:
        def noise(position: int, role: object) -> torch.Tensor:
            value = start if position == -1 else float(position == unit)
            return torch.full((1, 1, 2, 3), value)

        restored = repaint(prior, torch.zeros(1, 1, 2, 3), hole, noise, schedule=prior.schedule, path=path)
        return float(restored[0, 0, 0, 0])

    return run(1.0, None), sum(run(0.0, position) ** 2 for position in range(len(path)))


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (3, 4), (200, 260), (989, 999)])
def test_the_collapsed_undo_has_the_law_of_single_steps(start, stop):
    one = _law_of_undo([Undo(start, stop)])
    many = _law_of_undo([Undo(t, t + 1) for t in range(start, stop)])
    assert one == pytest.approx(many, rel=1e-4)


def test_the_path_collapses_undo_steps_by_default():
    times = jump_times(30, [Jump(5, 2)])
    assert {step.stop - step.start for step in steps(times) if isinstance(step, Undo)} == {5}
