"""Samplers that only the judge runs, against exact posteriors."""

import torch

from repaint_batch.evaluate.samplers import Projected
from repaint_batch.sampler.run import sample

from ..sampler.oracles import SHAPE, distance, gaussian_prior, mixture_prior, restore


def test_jumps_bring_it_nearer():
    prior = mixture_prior()
    assert distance(Projected(40, jump_length=5, jump_n_sample=6), prior) < 0.7 * distance(Projected(40), prior)


def test_with_nothing_known_and_no_fresh_noise_it_is_ddim_and_samples_the_prior():
    prior = gaussian_prior()
    nothing = torch.zeros((4000, *SHAPE), dtype=torch.bool)[:, :1]
    sampled = sample(Projected(250, eta=0.0), prior, torch.zeros(4000, *SHAPE), nothing, range(4000))
    sampled = sampled.reshape(4000, -1).double()
    torch.testing.assert_close(sampled.mean(0), prior.mixture.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(sampled.T), prior.mixture.covariance, atol=0.006, rtol=0)


def test_without_fresh_noise_the_start_decides():
    prior = mixture_prior()
    assert torch.equal(restore(Projected(10, eta=0.0), prior, 4), restore(Projected(10, eta=0.0), prior, 4))
    assert not torch.equal(restore(Projected(10, eta=0.0), prior, 4), restore(Projected(10, eta=0.0), prior, 4, seed=1))
