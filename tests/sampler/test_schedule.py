"""Laws of noise schedules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.sampler.schedule import NoiseSchedule

LINEAR = NoiseSchedule.linear()
BETAS = st.lists(st.floats(1e-5, 0.5), min_size=2, max_size=40).map(lambda b: torch.tensor(b, dtype=torch.float64))


@given(BETAS)
@settings(deadline=None)
def test_signal_to_noise_falls(betas):
    alpha_bar = NoiseSchedule.from_betas(betas).alpha_bar
    snr = alpha_bar / (1 - alpha_bar)
    assert bool((snr.diff() < 0).all())


@given(BETAS, st.data())
@settings(deadline=None)
def test_respacing_keeps_marginals_and_times(betas, data):
    whole = NoiseSchedule.from_betas(betas)
    part = whole.respaced(data.draw(st.integers(1, len(betas))))
    torch.testing.assert_close(part.alpha_bar, whole.alpha_bar[part.timesteps], rtol=1e-12, atol=0)
    assert bool((part.timesteps.diff() > 0).all())
    assert int(part.timesteps[0]) == 0
    assert len(part) == 1 or int(part.timesteps[-1]) == len(whole) - 1


@pytest.mark.parametrize("steps", [10, 100, 250, 1000])
def test_respacing_1000_steps_keeps_marginals_to_float64(steps):
    part = LINEAR.respaced(steps)
    torch.testing.assert_close(part.alpha_bar, LINEAR.alpha_bar[part.timesteps], rtol=1e-13, atol=0)


def test_respacing_to_250_takes_the_times_of_the_paper():
    times = LINEAR.respaced(250).timesteps.tolist()
    assert times[:4] == [0, 4, 8, 12]
    assert times[-2:] == [995, 999]


def test_respacing_twice_is_respacing_once():
    once = LINEAR.at(torch.tensor([0, 10, 500, 999]))
    twice = LINEAR.at(torch.tensor([0, 5, 10, 300, 500, 999])).at(torch.tensor([0, 2, 4, 5]))
    assert torch.equal(once.timesteps, twice.timesteps)
    torch.testing.assert_close(once.betas, twice.betas, rtol=1e-12, atol=0)


@given(BETAS)
@settings(deadline=None)
def test_posterior_variance_is_that_of_bayes(betas):
    schedule = NoiseSchedule.from_betas(betas)
    assert float(schedule.posterior_variance[0]) == 0
    # 1 / var = 1 / var(x_{t-1} | x_0) + (1 - beta) / beta, the precisions of the two Gaussians that meet.
    precision = 1 / (1 - schedule.alpha_bar_prev[1:]) + (1 - betas[1:]) / betas[1:]
    torch.testing.assert_close(schedule.posterior_variance[1:], 1 / precision, rtol=1e-9, atol=0)
    assert bool((schedule.posterior_variance <= betas).all())


def test_two_steps_of_noise_are_one():
    a, b = LINEAR.betas[3], LINEAR.betas[4]
    joined = LINEAR.at(torch.tensor([2, 4])).betas[1]
    torch.testing.assert_close(joined, 1 - (1 - a) * (1 - b))


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_respacing_is_refused(steps):
    with pytest.raises(ValueError, match=str(steps)):
        LINEAR.respaced(steps)
