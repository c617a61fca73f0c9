"""Laws of pictures whose every conditional is known in closed form: what samplers are judged on.

One law would be learned by heart: settings found on it alone need not be good on another. These five differ in what makes
restoring hard. All have their mass inside [-1, 1], where samplers clip.

    emoji     24 Gaussians with full covariance over 8×8 pixels, fitted to emoji (`fit_emoji`): few samples a component
    mixture   24 random Gaussians of full rank around smooth means: under sparse masks the component is the question
    overlap   6 Gaussians on one plane of 6 dimensions, nearly on top of each other, and faint noise around it
    photos    16 Gaussians of rank 12 over 8×8 patches of photographs (`fit_photos`): deep valleys of variance
    field     one Gaussian over 16×16 pixels with the 1/f² spectrum of natural pictures: no modes, long waves

Sources: Zoran and Weiss, "From learning models of natural image patches to whole image restoration", ICCV 2011 (mixtures
of patches); Field, "Relations between the statistics of natural images and the response properties of cortical cells",
1987 (1/f² spectrum); Tipping and Bishop, "Mixtures of probabilistic principal component analysers", 1999 (low rank).
"""

import math
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repaint_batch.priors.analytic import GaussianMixture, Mixture, fit_mixture
from repaint_batch.priors.pictures import PICTURE_SUFFIXES, flatten_on_white, held_out

_SIDE_PX = 8
_PIXELS = _SIDE_PX**2
_EMOJI_SCALE, _PHOTOS_SCALE = 0.6, 0.45
"""What white becomes, and black its negative: the fitted laws spread beyond the pictures, and stay inside [-1, 1]."""


def emoji() -> GaussianMixture:
    """Return the mixture fitted to emoji that comes with the package."""
    return _asset("oracle8.safetensors")


def photos() -> GaussianMixture:
    """Return the mixture fitted to patches of photographs that comes with the package.

    The photographs, all CC0: of Buddies of Budgie's budgie-backgrounds beacon-street-sunset, blue-periwinkle, canyon-wren,
    casa-mila, extreme-desert-hike, high-trestle-trail, lake-sherburne, oakland-zoo-otters, ocean-waves, piazza-gae-aulenti,
    singaporean-cityscape and the-spices-of-life; of Debian's lomiri-wallpapers seeding, by Clements Engelhardt.
    """
    return _asset("photos8.safetensors")


def mixture(seed: int = 1000) -> GaussianMixture:
    """Return 24 Gaussians of full rank: smooth means, and variances falling from 0.13 to 0.001 along random directions."""
    generator = torch.Generator().manual_seed(seed)
    weights = _weights(24, generator)
    means = 0.15 * _smooth(24, generator)
    directions, _ = torch.linalg.qr(_normal((24, _PIXELS, _PIXELS), generator))
    variances = 0.125 * torch.exp(-torch.arange(_PIXELS, dtype=torch.float64) / 6) + 0.03**2
    covariances = directions * variances @ directions.mT
    return GaussianMixture.of(Mixture(weights, means, covariances), (1, _SIDE_PX, _SIDE_PX))


def overlap(seed: int = 1000) -> GaussianMixture:
    """Return 6 Gaussians that share a plane of 6 dimensions and overlap on it, with white noise of 0.05 across."""
    generator = torch.Generator().manual_seed(seed)
    rank, weights = 6, _weights(6, generator)
    plane, _ = torch.linalg.qr(_smooth(rank, generator).T)
    means = 0.3 * _normal((len(weights), rank), generator)
    factors = 0.6 / math.sqrt(rank) * _normal((len(weights), rank, rank), generator)
    variances, turns = torch.linalg.eigh(factors @ factors.mT + 0.01 * torch.eye(rank, dtype=torch.float64))
    rest = torch.full((len(weights),), 0.05**2, dtype=torch.float64)
    return GaussianMixture(weights, means @ plane.T, plane @ turns, variances, rest, (1, _SIDE_PX, _SIDE_PX))


def field(side_px: int = 16) -> GaussianMixture:
    """Return the Gaussian over pictures of `side_px` whose spectrum falls as 1/f², standard deviation 0.3 and a little noise."""
    covariance = 0.3**2 * _field_covariance(side_px, power=2) + 1e-4 * torch.eye(side_px**2, dtype=torch.float64)
    return GaussianMixture.gaussian(torch.zeros(side_px**2, dtype=torch.float64), covariance, (1, side_px, side_px))


LAWS: dict[str, Callable[[], GaussianMixture]] = {
    "emoji": emoji,
    "mixture": mixture,
    "overlap": overlap,
    "photos": photos,
    "field": field,
}
"""Laws by name."""

ABOUT = {
    "emoji": "24 Gaussians fitted to emoji of 8×8 pixels. “exact” is a second set of true posterior samples: the best there is.",
    "mixture": "24 random Gaussians of full rank over 8×8 pixels: under sparse masks the component is the question.",
    "overlap": "6 Gaussians on one plane of 6 dimensions in 64, nearly on top of each other.",
    "photos": "16 Gaussians of low rank fitted to patches of 8×8 pixels of photographs.",
    "field": "One Gaussian over 16×16 pixels with the 1/f² spectrum of natural pictures; it has no modes to mistake.",
}
"""What is said of them beside their tables."""


def fit_emoji(folder: str | Path) -> GaussianMixture:
    """Return the mixture fitted to the pictures in `folder`, those held out left aside; white becomes 0.6, black -0.6.

    The scale keeps the law inside [-1, 1]; the ridge and the pooled covariance keep several components likely under most
    masks, without which every sampler would find the one mode there is.
    """
    paths = [path for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in PICTURE_SUFFIXES]
    rows = []
    for path in paths:
        if not held_out(path.name, 20):
            with Image.open(path) as image:
                grey = flatten_on_white(image).convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
            rows.append(_vector(np.asarray(grey), _EMOJI_SCALE))
    fitted = fit_mixture(torch.from_numpy(np.stack(rows)), 24, floor=0.006, shrink=0.3)
    return GaussianMixture.of(fitted, (1, _SIDE_PX, _SIDE_PX))


def fit_photos(paths: Sequence[str | Path], *, patches: int = 160, rank: int = 12, seed: int = 0) -> GaussianMixture:
    """Return the mixture fitted to grey 8×8 patches of the photographs at `paths`, shrunk to 96 and to 192 px.

    The pooled covariance in each component's own makes them overlap; all variance beyond the `rank` leading directions of a
    component is spread evenly.

    Args:
        paths: photographs.
        patches: of each at each size, drawn at random.
        rank: leading directions kept.
        seed: of the patches' places.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for path in paths:
        with Image.open(path) as image:
            grey = image.convert("L")
        for short_px in (96, 192):
            scale = short_px / min(grey.size)
            pixels = np.asarray(grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.LANCZOS))
            for _ in range(patches):
                top, left = (rng.integers(0, side - _SIDE_PX + 1) for side in pixels.shape)
                rows.append(_vector(pixels[top : top + _SIDE_PX, left : left + _SIDE_PX], _PHOTOS_SCALE))
    fitted = fit_mixture(torch.from_numpy(np.stack(rows)), 16, floor=1e-4, shrink=0.3, iterations=40)
    variances, directions = torch.linalg.eigh(fitted.covariances)
    leading = (directions[:, :, -rank:].contiguous(), variances[:, -rank:].contiguous(), variances[:, :-rank].mean(1))
    return GaussianMixture(fitted.weights, fitted.means, *leading, (1, _SIDE_PX, _SIDE_PX))


def _asset(name: str) -> GaussianMixture:
    with as_file(files("repaint_batch") / "assets" / name) as path:
        return GaussianMixture.load(path)


def _vector(grey: np.ndarray, scale: float) -> np.ndarray:
    return scale * (grey.astype(np.float32).reshape(-1) / 127.5 - 1)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _weights(count: int, generator: torch.Generator) -> Tensor:
    weights = torch.rand(count, generator=generator, dtype=torch.float64) + 0.3
    return weights / weights.sum()


def _smooth(count: int, generator: torch.Generator) -> Tensor:
    """Return (count, 64) smooth random pictures of variance 1."""
    covariance = _field_covariance(_SIDE_PX, power=3) + 1e-6 * torch.eye(_PIXELS, dtype=torch.float64)
    factor: Tensor = torch.linalg.cholesky(covariance)
    return _normal((count, _PIXELS), generator) @ factor.T


def _field_covariance(side_px: int, power: float) -> Tensor:
    """Return the (D, D) correlation of a square cut out of a field of four times its width, spectrum (1 + f²)^(-power/2)."""
    period = 4 * side_px
    f = torch.fft.fftfreq(period, dtype=torch.float64) * period
    spectrum = (1 + f[:, None] ** 2 + f**2) ** (-power / 2)
    correlation: Tensor = torch.fft.ifft2(spectrum).real
    y, x = (place.reshape(-1) for place in torch.meshgrid(torch.arange(side_px), torch.arange(side_px), indexing="ij"))
    correlation = correlation / correlation[0, 0]
    return correlation[(y[:, None] - y) % period, (x[:, None] - x) % period]
