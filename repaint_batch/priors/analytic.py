"""Priors that are exact: Gaussians and mixtures of them, with eps(x_t, t) and every conditional in closed form.

    p(x_0) = sum_k w_k N(mu_k, S_k),         S_k = U_k diag(l_k) U_k' + v_k (I - U_k U_k')
    p(x_t | k) = N(a mu_k, a² S_k + s² I),   a² = alpha_bar_t, s² = 1 - alpha_bar_t
    eps(x_t, t) = s sum_k p(k | x_t) (a² S_k + s² I)^-1 (x_t - a mu_k)

A sampler run on such a prior can be held against the true conditional given the known pixels: moments, probability of
every component, samples. Samplers clip predictions of x_0 to [-1, 1]; a mixture is a fair oracle only while almost none of
its mass lies outside, see `GaussianMixture.share_outside`.

Source: Tweedie's formula (Efron 2011) for eps; conditionals of a Gaussian: Bishop 2006, eq. 2.81-2.82.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from repaint_batch.errors import PriorError
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.schedule import NoiseSchedule

_ROWS_AT_ONCE = 256
_SAVED = ("weights", "means", "directions", "variances", "rest")


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of Gaussians over vectors.

    Attributes:
        weights: (K,) float64, sums to 1.
        means: (K, D) float64.
        covariances: (K, D, D) float64, positive definite.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @cached_property
    def cholesky(self) -> Tensor:
        """(K, D, D) float64, lower factors of the covariances."""
        factors: Tensor = torch.linalg.cholesky(self.covariances)
        return factors

    @property
    def mean(self) -> Tensor:
        """(D,) float64."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(D, D) float64: that within the components plus that between their means."""
        centred = self.means - self.mean
        between = torch.einsum("k,ki,kj->ij", self.weights, centred, centred)
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + between

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x, k), (N, K) float64, of vectors `x` (N, D); its logsumexp over k is log p(x)."""
        centred = (x.to(torch.float64)[:, None] - self.means).permute(1, 2, 0)
        white = torch.linalg.solve_triangular(self.cholesky, centred, upper=False)
        log_det = 2 * self.cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        size = self.means.shape[1]
        normaliser = log_det[:, None] + size * math.log(2 * math.pi)
        found: Tensor = self.weights.log()[:, None] - 0.5 * ((white**2).sum(1) + normaliser)
        return found.T

    def responsibilities(self, x: Tensor) -> Tensor:
        """Return p(k | x), (N, K) float64, of vectors `x` (N, D)."""
        return self.log_prob(x).softmax(1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, D) float64 independent samples."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        z = torch.randn((count, self.means.shape[1]), generator=generator, dtype=torch.float64)
        x = torch.empty_like(z)
        for k in range(len(self.weights)):
            rows = component == k
            x[rows] = self.means[k] + z[rows] @ self.cholesky[k].T
        return x

    def given(self, known: Tensor, is_known: Tensor) -> "Mixture":
        """Return the law of the unknown coordinates given the known ones.

        Args:
            known: (D,) whose entries count where `is_known`.
            is_known: (D,) bool.
        """
        o, h = is_known.nonzero()[:, 0], (~is_known).nonzero()[:, 0]
        y = known.to(torch.float64)[o]
        seen = Mixture(self.weights, self.means[:, o], self.covariances[:, o][:, :, o])
        cross = self.covariances[:, h][:, :, o]
        gain = torch.cholesky_solve(cross.mT, seen.cholesky).mT
        means = self.means[:, h] + (gain @ (y - seen.means)[..., None])[..., 0]
        covariances = self.covariances[:, h][:, :, h] - gain @ cross.mT
        return Mixture(seen.responsibilities(y[None])[0], means, (covariances + covariances.mT) / 2)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A diffusion prior whose data follow a mixture of Gaussians exactly.

    Its fields describe S_k by R leading directions and an isotropic rest: R = D is a full covariance, R = 0 an isotropic
    one, which is cheap for pictures of any size.

    Attributes:
        weights: (K,) positive, sums to 1.
        means: (K, D) with D = C·H·W.
        directions: (K, D, R) with orthonormal columns.
        variances: (K, R) along the directions, positive.
        rest: (K,) variance in every other direction, positive.
        shape: (C, H, W).
        schedule: the forward process it is seen through.
    """

    weights: Tensor
    means: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor
    shape: tuple[int, int, int]
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule.linear)
    fixed_large_variance: bool = False

    def __post_init__(self) -> None:
        if self.means.shape[1] != math.prod(self.shape):
            raise PriorError(f"means of {self.means.shape[1]} values do not fit pictures of shape {self.shape}")
        if not (bool((self.weights > 0).all()) and abs(float(self.weights.sum()) - 1) < 1e-6):
            raise PriorError("weights of a mixture must be positive and sum to 1")
        if not (bool((self.variances > 0).all()) and bool((self.rest > 0).all())):
            raise PriorError("a covariance of the mixture is not positive definite")

    @classmethod
    def of(cls, mixture: Mixture, shape: Sequence[int], schedule: NoiseSchedule | None = None) -> "GaussianMixture":
        """Return the prior of a mixture with full covariances over pictures of `shape` (C, H, W)."""
        variances, directions = torch.linalg.eigh(mixture.covariances.to(torch.float64))
        weights, means = mixture.weights.to(torch.float64), mixture.means.to(torch.float64)
        channels, height, width = shape
        rest = variances.amin(1) if variances.shape[1] else torch.ones(len(weights), dtype=torch.float64)
        schedule = schedule or NoiseSchedule.linear()
        return cls(weights, means, directions, variances, rest, (channels, height, width), schedule)

    @classmethod
    def gaussian(
        cls, mean: Tensor, covariance: Tensor, shape: Sequence[int], schedule: NoiseSchedule | None = None
    ) -> "GaussianMixture":
        """Return the prior N(mean (D,), covariance (D, D))."""
        one = torch.ones(1, dtype=torch.float64)
        return cls.of(Mixture(one, mean[None], covariance[None]), shape, schedule)

    @classmethod
    def isotropic(cls, means: Tensor, std: float, schedule: NoiseSchedule | None = None) -> "GaussianMixture":
        """Return equally likely pictures `means` (K, C, H, W), each blurred by white noise of `std`; any size is cheap."""
        count, channels, height, width = means.shape
        flat = means.reshape(count, -1).to(torch.float64)
        weights = torch.full((count,), 1 / count, dtype=torch.float64)
        rest = torch.full((count,), std**2, dtype=torch.float64)
        directions, variances = flat.new_zeros((count, flat.shape[1], 0)), flat.new_zeros((count, 0))
        schedule = schedule or NoiseSchedule.linear()
        return cls(weights, flat, directions, variances, rest, (channels, height, width), schedule)

    @classmethod
    def load(cls, path: str | Path, schedule: NoiseSchedule | None = None) -> "GaussianMixture":
        """Return the prior in a safetensors file written by `save`."""
        try:
            tensors = {name: value.to(torch.float64) for name, value in load_file(path).items()}
            channels, height, width = (int(side) for side in tensors["shape"])
            weights, means, directions, variances, rest = (tensors[name] for name in _SAVED)
        except (OSError, KeyError, ValueError) as error:
            raise PriorError(f"{path}: not a mixture of Gaussians ({error})") from error
        schedule = schedule or NoiseSchedule.linear()
        return cls(weights / weights.sum(), means, directions, variances, rest, (channels, height, width), schedule)

    def save(self, path: str | Path) -> None:
        """Write the prior as float32 safetensors, its fields by their names."""
        tensors = {name: getattr(self, name) for name in _SAVED} | {"shape": torch.tensor(self.shape)}
        save_file({name: value.float().contiguous() for name, value in tensors.items()}, path)

    @cached_property
    def mixture(self) -> Mixture:
        """The law of x_0 with its covariances written out: (K, D, D), so for small pictures."""
        eye = torch.eye(self.means.shape[1], dtype=torch.float64)
        spread = self.variances - self.rest[:, None]
        leading = (self.directions * spread[:, None]) @ self.directions.mT
        return Mixture(self.weights, self.means, leading + self.rest[:, None, None] * eye)

    def conditional(self, known: Tensor, keep_mask: Tensor) -> Mixture:
        """Return the exact law of the hole of one picture, as vectors in the order of `picture[:, hole]`.

        Args:
            known: (C, H, W), read where `keep_mask`.
            keep_mask: (1, H, W) bool, True = known pixel.
        """
        is_known = keep_mask.expand(self.shape).reshape(-1)
        return self.mixture.given(known.reshape(-1), is_known)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, C, H, W) float32 exact samples of the prior."""
        return self.mixture.sample(count, generator).reshape(count, *self.shape).float()

    def share_outside(self, bound: float = 1.0, count: int = 4096) -> float:
        """Return the share of pixel values beyond ±`bound` among `count` samples."""
        pictures = self.sample(count, torch.Generator().manual_seed(0))
        return float((pictures.abs() > bound).float().mean())

    @cached_property
    def _tables(self) -> "_Tables":
        return _Tables.of(self)

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """Predict the noise in `x_t` (B, C, H, W) float32 at times `t` (B,) int64: E[eps | x_t] exactly."""
        flat = x_t.reshape(len(x_t), -1)
        tables = self._tables.to(x_t.device)
        a, s = tables.signal[t][:, None], tables.sigma[t][:, None]
        # Where all are at one level, as in the judge, its variances and their logarithms are taken once.
        alone = t.device.type == "cpu" and bool((t == t[0]).all())
        rows = [slice(top, top + _ROWS_AT_ONCE) for top in range(0, len(flat), _ROWS_AT_ONCE)]
        parts = [tables.eps(flat[part], *((a[:1], s[:1]) if alone else (a[part], s[part]))) for part in rows]
        return Prediction(torch.cat(parts).reshape(x_t.shape))


@dataclass(frozen=True, eq=False)
class _Tables:
    """The prior as float32, its directions side by side, so that a call is two matrix products."""

    signal: Tensor
    sigma: Tensor
    log_weights: Tensor
    means: Tensor
    directions: Tensor
    """(D, K·R)"""
    projected_means: Tensor
    """(K·R,)"""
    variances: Tensor
    """(K, R)"""
    rest: Tensor
    rest_size: int

    @classmethod
    def of(cls, prior: GaussianMixture) -> "_Tables":
        alpha_bar = prior.schedule.alpha_bar
        projected = (prior.means[:, None] @ prior.directions)[:, 0]
        size, rank = prior.directions.shape[1:]
        directions = prior.directions.permute(1, 0, 2).reshape(size, -1)
        values = {
            "signal": alpha_bar.sqrt(),
            "sigma": (1 - alpha_bar).sqrt(),
            "log_weights": prior.weights.log(),
            "means": prior.means,
            "directions": directions,
            "projected_means": projected.reshape(-1),
            "variances": prior.variances,
            "rest": prior.rest,
        }
        return cls(**{name: value.float().contiguous() for name, value in values.items()}, rest_size=size - rank)

    def to(self, device: torch.device) -> "_Tables":
        if self.means.device == device:
            return self
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return _Tables(**tensors, rest_size=self.rest_size)

    def eps(self, x: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """Return (N, D) of states `x` (N, D) at levels a, s (N, 1), or (1, 1) where all are at one."""
        count, rank = self.variances.shape
        z = (x @ self.directions - a * self.projected_means).view(len(x), count, rank)
        along = (a**2)[..., None] * self.variances + (s**2)[..., None]
        scaled = z / along
        log_p = self.log_weights - 0.5 * ((scaled * z).sum(2) + along.log().sum(2))
        if not self.rest_size:
            share = log_p.softmax(1)
            return s * ((scaled * share[..., None]).flatten(1) @ self.directions.T)
        across = a**2 * self.rest + s**2
        distance = (x**2).sum(1, keepdim=True) - 2 * a * (x @ self.means.T) + a**2 * (self.means**2).sum(1)
        left = (distance - (z**2).sum(2)).clamp(min=0)
        share = (log_p - 0.5 * (left / across + self.rest_size * across.log())).softmax(1)
        pull = share / across
        outside = x * pull.sum(1, keepdim=True) - a * (pull @ self.means)
        inside = (scaled - z / across[..., None]) * share[..., None]
        return s * (outside + inside.flatten(1) @ self.directions.T)


def fit_mixture(
    vectors: Tensor, components: int, *, floor: float = 1e-3, shrink: float = 0.1, iterations: int = 100, seed: int = 0
) -> Mixture:
    """Return a mixture with full covariances fitted by expectation maximisation.

    Args:
        vectors: (N, D) data.
        components: K.
        floor: variance added to every coordinate of every component.
        shrink: weight of the pooled covariance in each component's own, which keeps small components well conditioned.
        iterations: rounds of E and M steps.
        seed: of the first centres (k-means++ draws).
    """
    x = vectors.to(torch.float64)
    generator = torch.Generator().manual_seed(seed)
    centres = x[torch.randint(len(x), (1,), generator=generator)]
    for _ in range(components - 1):
        nearest = torch.cdist(x, centres).amin(1) ** 2
        centres = torch.cat([centres, x[torch.multinomial(nearest, 1, generator=generator)]])
    share = torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(1), components).to(torch.float64)
    eye = torch.eye(x.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        mass = share.sum(0) + 1e-9
        means = share.T @ x / mass[:, None]
        centred = x[None] - means[:, None]
        scatter = (centred * share.T[..., None]).mT @ centred
        pooled = scatter.sum(0) / len(x)
        own = scatter / mass[:, None, None]
        mixture = Mixture(mass / mass.sum(), means, (1 - shrink) * own + shrink * pooled + floor * eye)
        share = mixture.responsibilities(x)
    return mixture
