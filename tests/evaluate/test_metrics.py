"""Metrics on cases whose answer is known."""

import math

import pytest
import torch

from repaint_batch.evaluate import metrics
from repaint_batch.priors.analytic import Mixture


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_energy_distance_of_shifted_normals():
    # In one dimension E|N(m, 2)| = 2 exp(-m²/4) / √π + m erf(m / 2).
    x, y, m = normal(3000, 1), normal(3000, 1, seed=1) + 1.0, 1.0
    right = 2 * (2 / math.sqrt(math.pi) * math.exp(-m * m / 4) + m * math.erf(m / 2)) - 4 / math.sqrt(math.pi)
    assert metrics.energy_distance(x, y) == pytest.approx(right, abs=0.03)
    assert metrics.energy_distance(x, y - 1.0) == pytest.approx(0, abs=0.004)


def test_mode_distance_and_variance_ratio():
    means = torch.tensor([[-5.0], [5.0]], dtype=torch.float64)
    posterior = Mixture(torch.tensor([0.5, 0.5], dtype=torch.float64), means, torch.ones((2, 1, 1), dtype=torch.float64))
    exact = posterior.sample(4000, torch.Generator().manual_seed(0))
    assert metrics.mode_distance(exact, posterior) < 0.03
    assert metrics.mode_distance(exact.abs(), posterior) == pytest.approx(0.5, abs=1e-3)
    assert metrics.variance_ratio(exact, posterior) == pytest.approx(1, abs=0.03)
    assert metrics.variance_ratio(exact / 2, posterior) == pytest.approx(0.25, abs=0.01)


def test_psnr_ssim_and_pairs_look_at_the_hole_alone():
    truth = normal(2, 3, 16, 16).clamp(-1, 1)
    keep = torch.zeros((2, 1, 16, 16), dtype=torch.bool)
    keep[..., :8] = True
    outside = torch.where(keep, truth + 1, truth)
    assert bool((metrics.hole_psnr(outside, truth, keep) > 90).all())
    assert metrics.hole_psnr(truth + 0.2, truth, keep).tolist() == pytest.approx([20.0] * 2, abs=1e-3)
    assert metrics.pair_distance(truth + 0.2, truth, keep).tolist() == pytest.approx([0.2] * 2, abs=1e-5)
    assert metrics.hole_ssim(truth, truth, keep).tolist() == pytest.approx([1.0] * 2)
    noisy = [metrics.hole_ssim(truth + s * normal(2, 3, 16, 16, seed=1), truth, keep).mean() for s in (0.1, 0.4, 2.0)]
    assert 1 > noisy[0] > noisy[1] > noisy[2]


def test_calibration_of_true_posterior_samples_is_one():
    centre = normal(400, 1, 4, 4)
    keep = torch.zeros((400, 1, 4, 4), dtype=torch.bool)
    truth = centre + 0.3 * normal(400, 1, 4, 4, seed=1)

    def quotient(spread):
        samples = torch.stack([centre + spread * normal(400, 1, 4, 4, seed=2 + i) for i in range(3)])
        return metrics.bootstrap(metrics.calibration(samples, truth, keep))

    value, low, high = quotient(0.3)
    assert low < value < high
    assert value == pytest.approx(1, abs=0.06)
    assert quotient(0.15)[2] < 0.6


def test_a_seam_is_seen_and_its_absence_is_one():
    ramp = torch.linspace(-0.5, 0.5, 16).expand(2, 3, 16, 16).clone()
    keep = torch.ones((2, 1, 16, 16), dtype=torch.bool)
    keep[..., 8:] = False
    assert metrics.bootstrap(metrics.seam(ramp, ramp, keep))[0] == pytest.approx(1)
    shifted = torch.where(keep, ramp, ramp + 0.2)
    assert metrics.bootstrap(metrics.seam(shifted, ramp, keep))[0] == pytest.approx(4, abs=1e-3)


def test_grain_is_that_of_the_hole_whatever_the_picture_shows():
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    edge = torch.where(columns > 40, 0.5, -0.5) + rows / 200
    keep = torch.ones((1, 1, 96, 96), dtype=torch.bool)
    keep[..., 20:80, 20:80] = False
    truth = edge + 0.02 * normal(1, 1, 96, 96)
    x = torch.where(keep, edge, edge + 0.06 * normal(1, 1, 96, 96, seed=1))
    found = metrics.grain(x, truth, keep)[0].tolist()
    assert found == pytest.approx([0.06, 0.02], rel=0.1)


def test_distances_between_sets_know_equal_and_shifted_laws():
    x, y = normal(600, 8), normal(600, 8, seed=1)
    assert abs(metrics.kernel_distance(x, y)) < 0.05
    assert metrics.kernel_distance(x, y + 1) > 1
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(x, x + 1) == pytest.approx(8, rel=1e-4)
    assert metrics.frechet_distance(x, 2 * x) == pytest.approx(
        float((x.mean(0) ** 2).sum() + torch.cov(x.T).trace()), rel=1e-3
    )


def test_bootstrap_intervals_cover_as_often_as_they_say():
    inside = 0
    for seed in range(200):
        _, low, high = metrics.bootstrap(normal(40, seed=seed) + 3.0, rounds=300, seed=seed)
        inside += low <= 3.0 <= high
    assert 175 <= inside <= 200
