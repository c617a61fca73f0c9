"""Small exact priors for tests of samplers."""

import torch
from torch import Tensor

from repaint_batch.evaluate.metrics import energy_distance
from repaint_batch.priors.analytic import GaussianMixture, Mixture
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.sampler import Sampler

SHAPE = (1, 2, 3)


def mixture_prior() -> GaussianMixture:
    """Return three correlated Gaussians over 2×3 pixels."""
    generator = torch.Generator().manual_seed(3)
    means = 0.3 * torch.randn((3, 6), generator=generator, dtype=torch.float64)
    factors = 0.12 * torch.randn((3, 6, 6), generator=generator, dtype=torch.float64)
    covariances = factors @ factors.mT + 0.002 * torch.eye(6, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return GaussianMixture.of(Mixture(weights, means, covariances), SHAPE)


def gaussian_prior() -> GaussianMixture:
    """Return one strongly correlated Gaussian over 2×3 pixels."""
    place = torch.arange(6, dtype=torch.float64)
    covariance = 0.06 * torch.exp(-((place[:, None] - place) ** 2) / 8) + 0.002 * torch.eye(6, dtype=torch.float64)
    return GaussianMixture.gaussian(0.1 * place - 0.25, covariance, SHAPE)


def left_known() -> Tensor:
    """Return a keep mask of the left column."""
    keep = torch.zeros((1, 2, 3), dtype=torch.bool)
    keep[:, :, 0] = True
    return keep


def known_picture() -> Tensor:
    """Return a picture whose left column is known; its hole holds what no sampler may read."""
    return torch.where(left_known(), torch.tensor([[[0.2], [-0.1]]]), torch.tensor(float("nan")))


def restore(sampler: Sampler, prior: GaussianMixture, count: int, seed: int = 0) -> Tensor:
    """Return (count, D) hole pixels of `count` restorations of `known_picture`."""
    known = known_picture().expand(count, *SHAPE)
    keep = left_known().expand(count, *SHAPE)
    restored = sample(sampler, prior, known, keep, [sample_key(seed, str(i)) for i in range(count)])
    assert torch.equal(restored[keep], known[keep])
    return restored[~keep].reshape(count, -1)


def distance(sampler: Sampler, prior: GaussianMixture, count: int = 1000) -> float:
    """Return the energy distance of restorations to the exact posterior."""
    posterior = prior.conditional(known_picture(), left_known())
    exact = posterior.sample(2000, torch.Generator().manual_seed(9)).float()
    return energy_distance(restore(sampler, prior, count), exact)
