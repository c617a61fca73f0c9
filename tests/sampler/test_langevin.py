"""Guided Langevin samplers against exact posteriors."""

import pytest

from repaint_batch.evaluate.metrics import variance_ratio
from repaint_batch.evaluate.samplers import Langevin
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.repaint import RePaint

from .oracles import distance, gaussian_prior, known_picture, left_known, mixture_prior, restore


def test_sixty_evaluations_come_nearer_to_a_gaussian_posterior_than_four_times_as_many_of_repaint():
    prior, repaint = gaussian_prior(), RePaint(50, 5, 5)
    assert repaint.nfe == 230
    assert distance(AnnealedLangevin(60), prior) < 0.1 * distance(repaint, prior)


def test_more_evaluations_come_nearer_to_a_gaussian_posterior():
    prior = gaussian_prior()
    far, near = (distance(AnnealedLangevin(count), prior) for count in (8, 120))
    assert near < 0.3 * far
    assert near < 0.004


def test_averaged_noise_keeps_the_variance_that_the_exponential_integrator_loses():
    prior = gaussian_prior()
    posterior = prior.conditional(known_picture(), left_known())
    averaged = variance_ratio(restore(AnnealedLangevin(120), prior, 3000), posterior)
    exponential = variance_ratio(restore(Langevin(24, 4, h=1.2), prior, 3000), posterior)
    assert averaged == pytest.approx(1, abs=0.08)
    assert exponential < averaged - 0.1


def test_pull_tells_the_network_what_is_known():
    prior = gaussian_prior()
    assert distance(AnnealedLangevin(60, pull=10), prior) < 0.7 * distance(AnnealedLangevin(60, pull=0), prior)


def test_corrections_bring_langevin_nearer():
    prior = mixture_prior()
    assert distance(Langevin(12, 4), prior) < distance(Langevin(12, 0), prior)
