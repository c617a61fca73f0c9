"""Analytic priors against definitions, finite differences and brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.errors import PriorError
from repaint_batch.priors.analytic import GaussianMixture, Mixture, fit_mixture
from repaint_batch.sampler.prior import Prior


def random_mixture(components: int, size: int, seed: int) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.2
    means = 0.3 * torch.randn((components, size), generator=generator, dtype=torch.float64)
    factors = 0.2 * torch.randn((components, size, size), generator=generator, dtype=torch.float64)
    return Mixture(weights / weights.sum(), means, factors @ factors.mT + 0.01 * torch.eye(size, dtype=torch.float64))


@given(st.integers(1, 4), st.integers(0, 99), st.integers(0, 999))
@settings(deadline=None, max_examples=30)
def test_eps_is_the_score_of_the_noised_law(components, seed, t):
    mixture = random_mixture(components, 4, seed)
    prior: Prior = GaussianMixture.of(mixture, (1, 2, 2))
    alpha_bar = prior.schedule.alpha_bar[t]
    noised = Mixture(
        mixture.weights,
        alpha_bar.sqrt() * mixture.means,
        alpha_bar * mixture.covariances + (1 - alpha_bar) * torch.eye(4, dtype=torch.float64),
    )
    x = torch.randn((5, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(noised.log_prob(x).logsumexp(1).sum(), x)
    eps = prior(x.detach().float().reshape(5, 1, 2, 2), torch.full((5,), t)).eps.reshape(5, 4)
    torch.testing.assert_close(eps.double(), -(1 - alpha_bar).sqrt() * score, rtol=1e-3, atol=1e-3)


def test_times_may_differ_within_a_batch_and_batches_may_be_large():
    prior = GaussianMixture.of(random_mixture(3, 4, 0), (1, 2, 2))
    x = torch.randn((700, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    t = torch.randint(0, 1000, (700,), generator=torch.Generator().manual_seed(1))
    together = prior(x, t).eps
    for i in (0, 255, 256, 699):
        torch.testing.assert_close(together[i], prior(x[i : i + 1], t[i : i + 1]).eps[0], rtol=1e-4, atol=1e-5)


def test_low_rank_and_full_covariances_are_one_law():
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn((2, 12, 3), generator=generator, dtype=torch.float64))[0]
    low = GaussianMixture(
        torch.tensor([0.4, 0.6], dtype=torch.float64),
        0.2 * torch.randn((2, 12), generator=generator, dtype=torch.float64),
        directions,
        torch.tensor([[0.2, 0.1, 0.05]] * 2, dtype=torch.float64),
        torch.tensor([0.01, 0.02], dtype=torch.float64),
        (3, 2, 2),
    )
    full = GaussianMixture.of(low.mixture, (3, 2, 2))
    x = torch.randn((50, 3, 2, 2), generator=generator)
    for t in (0, 100, 500, 999):
        times = torch.full((50,), t)
        torch.testing.assert_close(low(x, times).eps, full(x, times).eps, rtol=1e-3, atol=2e-3)


def test_an_isotropic_prior_of_one_picture_knows_it():
    picture = torch.linspace(-0.8, 0.8, 3 * 16 * 16).reshape(1, 3, 16, 16)
    prior = GaussianMixture.isotropic(picture, std=0.01)
    alpha_bar = prior.schedule.alpha_bar[500].float()
    eps = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    found = prior(alpha_bar.sqrt() * picture + (1 - alpha_bar).sqrt() * eps, torch.tensor([500, 500])).eps
    torch.testing.assert_close(found, eps, atol=1e-2, rtol=1e-2)


@given(st.integers(0, 99), st.integers(0, 63))
@settings(deadline=None, max_examples=40)
def test_the_chain_rule_holds(seed, known_bits):
    mixture = random_mixture(3, 6, seed)
    is_known = torch.tensor([known_bits >> i & 1 == 1 for i in range(6)])
    x = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    conditional = mixture.given(torch.where(is_known, x, torch.nan), is_known)
    o = is_known.nonzero()[:, 0]
    marginal = Mixture(mixture.weights, mixture.means[:, o], mixture.covariances[:, o][:, :, o])
    whole, seen = (m.log_prob(v[None]).logsumexp(1) for m, v in ((mixture, x), (marginal, x[o])))
    rest = conditional.log_prob(x[~is_known][None]).logsumexp(1)
    torch.testing.assert_close(whole, seen + rest, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(conditional.weights.sum(), torch.ones((), dtype=torch.float64))


def test_the_conditional_is_what_rejection_leaves():
    mixture = random_mixture(2, 2, 4)
    samples = mixture.sample(2_000_000, torch.Generator().manual_seed(0))
    y = float(mixture.mean[0])
    kept = samples[(samples[:, 0] - y).abs() < 0.004]
    exact = mixture.given(torch.tensor([y, 0.0]), torch.tensor([True, False]))
    spread = float(exact.covariance[0, 0].sqrt())
    assert len(kept) > 3000
    assert float(kept[:, 1].mean()) == pytest.approx(float(exact.mean[0]), abs=5 * spread / len(kept) ** 0.5)
    assert float(kept[:, 1].std()) == pytest.approx(spread, rel=0.05)
    found = mixture.responsibilities(kept).mean(0)
    torch.testing.assert_close(found, exact.weights, atol=0.03, rtol=0)


def test_samples_have_the_moments_that_are_stated():
    mixture = random_mixture(3, 5, 1)
    x = mixture.sample(60_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.mean(0), mixture.mean, atol=0.015, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), mixture.covariance, atol=0.02, rtol=0)
    prior = GaussianMixture.of(mixture, (5, 1, 1))
    assert prior.sample(7, torch.Generator().manual_seed(0)).shape == (7, 5, 1, 1)
    assert prior.share_outside(10.0) == 0
    assert 0 < prior.share_outside(0.5) < 1


def test_fitting_finds_two_clusters():
    true = Mixture(
        torch.tensor([0.7, 0.3], dtype=torch.float64),
        torch.tensor([[-0.5, -0.5, 0.0], [0.5, 0.3, 0.2]], dtype=torch.float64),
        0.01 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3),
    )
    x = true.sample(3000, torch.Generator().manual_seed(0))
    fitted = fit_mixture(x, 2, floor=1e-4, shrink=0.0, iterations=30)
    order = fitted.weights.argsort(descending=True)
    torch.testing.assert_close(fitted.weights[order], true.weights, atol=0.03, rtol=0)
    torch.testing.assert_close(fitted.means[order], true.means, atol=0.02, rtol=0)


def test_fitting_never_loses_likelihood():
    x = random_mixture(4, 3, 2).sample(1500, torch.Generator().manual_seed(0))
    found = [fit_mixture(x, 4, floor=0.0, shrink=0.0, iterations=n).log_prob(x).logsumexp(1).mean() for n in (1, 3, 10, 30)]
    assert found == sorted(found)
    assert found[-1] > found[0] + 1e-3


def test_a_saved_prior_is_the_same_prior(tmp_path):
    prior = GaussianMixture.of(random_mixture(3, 12, 0), (3, 2, 2))
    prior.save(tmp_path / "prior.safetensors")
    again = GaussianMixture.load(tmp_path / "prior.safetensors")
    x = torch.randn((9, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    assert again.shape == (3, 2, 2)
    for t in (0, 400, 999):
        torch.testing.assert_close(again(x, torch.full((9,), t)).eps, prior(x, torch.full((9,), t)).eps, rtol=1e-3, atol=1e-3)


def test_what_is_no_mixture_is_refused(tmp_path):
    mixture = random_mixture(2, 4, 0)
    with pytest.raises(PriorError, match="do not fit pictures"):
        GaussianMixture.of(mixture, (1, 3, 3))
    with pytest.raises(PriorError, match="sum to 1"):
        GaussianMixture.of(Mixture(mixture.weights * 2, mixture.means, mixture.covariances), (1, 2, 2))
    with pytest.raises(PriorError, match="positive definite"):
        GaussianMixture.of(Mixture(mixture.weights, mixture.means, -mixture.covariances), (1, 2, 2))
    with pytest.raises(PriorError, match=r"missing\.safetensors"):
        GaussianMixture.load(tmp_path / "missing.safetensors")
