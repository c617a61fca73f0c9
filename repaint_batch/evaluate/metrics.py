"""Scores, as pure functions of tensors.

Against an exact posterior: `energy_distance`, `mode_distance`, `variances`, `variance_ratio`. Against held-out pictures:
`hole_psnr`, `hole_ssim`, `seam`, `grain`, `pair_distance`, `calibration`. Between sets of pictures: `kernel_distance`,
`frechet_distance`.
Pictures are (B, C, H, W) float32 in [-1, 1]; `keep_mask` is (B, 1, H, W) bool, True = known pixel.
"""

import math

import torch
from torch import Tensor

from repaint_batch.priors.analytic import Mixture


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples (N, D) and (M, D); unbiased, so it can fall below 0.

    Source: Székely and Rizzo, "Energy statistics", 2013, eq. 2.
    """
    return float(2 * torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean())


def mode_distance(x: Tensor, posterior: Mixture) -> float:
    """Return the total variation between how often `x` (N, D) is of each component and how often it should be; 0 .. 1."""
    return float((posterior.responsibilities(x).mean(0) - posterior.weights).abs().sum() / 2)


def variances(x: Tensor, posterior: Mixture) -> Tensor:
    """Return (2,): total variance of `x` (N, D), and that of the posterior. A quotient of 1 is calibrated, below is too sure."""
    return torch.stack([x.to(torch.float64).var(0).sum(), posterior.covariance.diagonal().sum()])


def variance_ratio(x: Tensor, posterior: Mixture) -> float:
    """Return the quotient of `variances`."""
    found, exact = variances(x, posterior).tolist()
    return float(found / exact)


def _mean_square(x: Tensor, y: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B,) mean squared difference over the hole."""
    hole = ~keep_mask
    return ((x - y) ** 2 * hole).sum((1, 2, 3)) / (hole.sum((1, 2, 3)) * x.shape[1])


def hole_psnr(x: Tensor, truth: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B,) peak signal-to-noise ratio over the hole, in dB."""
    return 10 * torch.log10(4 / _mean_square(x, truth, keep_mask).clamp(min=1e-10))


def pair_distance(x: Tensor, other: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B,) root mean squared difference over the hole of two restorations: their diversity."""
    return _mean_square(x, other, keep_mask).sqrt()


def calibration(samples: Tensor, truth: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B, 2): mean squares between restorations, and between restorations and the truth.

    For exact posterior samples both have one mean, since the truth is a sample too: a quotient of their means below 1
    says that the sampler is surer than it has reason to be.

    Args:
        samples: (S, B, C, H, W), S ≥ 2 restorations of each picture.
    """
    count = len(samples)
    pairs = [
        _mean_square(samples[i], samples[j], keep_mask) for i in range(count) for j in range(i + 1, count)
    ]
    errors = [_mean_square(sample, truth, keep_mask) for sample in samples]
    return torch.stack([torch.stack(pairs).mean(0), torch.stack(errors).mean(0)], 1)


def hole_ssim(x: Tensor, truth: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B,) structural similarity, averaged over the hole's pixels.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004; Gaussian window
    of 11 px (less where the picture is smaller), sigma 1.5, K = (0.01, 0.03).
    """
    size = min(11, (min(x.shape[2:]) - 1) // 2 * 2 + 1)
    taps = torch.exp(-((torch.arange(size) - size // 2) ** 2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).to(x)
    window = (taps[:, None] * taps).expand(x.shape[1], 1, size, size)

    def blur(values: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(values, [size // 2] * 4, mode="reflect")
        return torch.nn.functional.conv2d(padded, window, groups=x.shape[1])

    mean_x, mean_y = blur(x), blur(truth)
    var_x, var_y = blur(x * x) - mean_x**2, blur(truth * truth) - mean_y**2
    covariance = blur(x * truth) - mean_x * mean_y
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    ssim = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    hole = ~keep_mask
    return (ssim * hole).sum((1, 2, 3)) / (hole.sum((1, 2, 3)) * x.shape[1])


def seam(x: Tensor, truth: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B, 2): mean absolute step across the border of the hole, in `x` and in the true picture.

    A quotient of their means over 1 is a visible seam, below 1 a border smoother than pictures have.
    """
    steps, count = [torch.zeros(len(x)), torch.zeros(len(x))], torch.zeros(len(x))
    for dim in (2, 3):
        border = keep_mask.diff(dim=dim)
        count += border.sum((1, 2, 3)) * x.shape[1]
        for k, picture in enumerate((x, truth)):
            steps[k] += (picture.diff(dim=dim).abs() * border).sum((1, 2, 3)).cpu()
    return torch.stack([step / count.clamp(min=1) for step in steps], 1)


def grain(x: Tensor, truth: Tensor, keep_mask: Tensor) -> Tensor:
    """Return (B, 2): standard deviation of the grain in the hole, in `x` and in the true picture.

    It is read from what a mask that knows neither planes nor straight edges leaves; a median, so that texture says little.
    A quotient of their means over 1 is too grainy, below 1 too smooth.

    Source: Immerkær, "Fast noise variance estimation", 1996.
    """
    difference = torch.tensor([1.0, -2.0, 1.0]).to(x)
    mask = (difference[:, None] * difference)[None, None]
    found = []
    for picture in (x, truth):
        padded = torch.nn.functional.pad(picture.mean(1, keepdim=True), [1] * 4, mode="reflect")
        left = torch.nn.functional.conv2d(padded, mask).abs()
        # A normal variable's median distance from 0 is 0.6745 of its standard deviation; the mask multiplies that by 6.
        found.append(torch.stack([one[hole].median() / 0.6745 / 6 for one, hole in zip(left, ~keep_mask, strict=True)]))
    return torch.stack(found, 1)


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared maximum mean discrepancy of features (N, D) and (M, D), unbiased, kernel (x·y / D + 1)³.

    Source: Bińkowski et al., "Demystifying MMD GANs", ICLR 2018 (with Inception features this is KID).
    """
    x, y = x.to(torch.float64), y.to(torch.float64)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def off_diagonal(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    return float(off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * kernel(x, y).mean())


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared Fréchet distance of Gaussians fitted to features (N, D) and (M, D); biased upwards for small N.

    Source: Heusel et al., NeurIPS 2017 (with Inception features this is FID).
    """
    x, y = x.to(torch.float64), y.to(torch.float64)
    cov_x, cov_y = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(cov_x)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + cov_x.trace() + cov_y.trace() - 2 * cross)


def bootstrap(values: Tensor, *, rounds: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Return the statistic and its 95 % interval, resampling rows.

    Args:
        values: (N,) whose mean is the statistic, or (N, 2) where the quotient of the two means is.
    """

    def statistic(means: Tensor) -> Tensor:
        return means[..., 0] / means[..., 1] if means.shape[-1] == 2 else means[..., 0]

    table = values.to(torch.float64).reshape(len(values), -1)
    drawn = torch.randint(len(table), (rounds, len(table)), generator=torch.Generator().manual_seed(seed))
    spread = statistic(table[drawn].mean(1))
    low, high = torch.quantile(spread, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    value = float(statistic(table.mean(0)))
    return (value, low, high) if math.isfinite(value) else (value, math.nan, math.nan)
