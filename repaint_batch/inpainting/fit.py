"""Does a prior fit the pictures that it is asked to restore? Holes are made where the truth is known, and compared.

With y the known pixels, a sample z of the true posterior errs in the mean square twice as much as the posterior's mean does,
which errs least of all estimates:

    E|x - z|² = 2 E|x - E[x | y]|² <= 2 E|x - e(y)|²    for every estimate e

So by chance alone restorations lie at most 10 log10(2) = 3.01 dB below whatever fills holes, such as the smooth filling here. A
prior whose restorations lie further below, beyond what so few places can show, does not know such pictures.

Source: Blau and Michaeli, "The perception-distortion tradeoff", CVPR 2018, section 5, for the factor of two.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repaint_batch.inpainting.device import device_of
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.prior import Prior
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.sampler import Sampler

PLACES = 8
"""Windows that are tried; fewer than four show nothing."""
_LEAST_PLACES = 4
_LEAST_HOLE_PX = 4
_ERRORS = 3.0  # standard errors beyond which it is no chance
_RELAXATIONS = 50


@dataclass(frozen=True)
class Fit:
    """How restorations compare with a smooth filling, in places where the truth is known.

    Attributes:
        restored: mean squared error over the hole of every place, samples in [-1, 1].
        smooth: that of the smooth filling.
    """

    restored: tuple[float, ...]
    smooth: tuple[float, ...]

    @property
    def restored_db(self) -> float:
        """PSNR over the holes of all places, in dB."""
        return _psnr_db(self.restored)

    @property
    def smooth_db(self) -> float:
        """That of the smooth filling."""
        return _psnr_db(self.smooth)

    @property
    def is_poor(self) -> bool:
        """Whether restorations err more than twice as much as the smooth filling does, and not by chance."""
        if len(self.restored) < _LEAST_PLACES:
            return False
        excess = np.array(self.restored) - 2 * np.array(self.smooth)
        error = excess.std(ddof=1) / np.sqrt(len(excess))
        return bool(excess.mean() > _ERRORS * error)

    def warning(self, source: str) -> str | None:
        """Return what to say of a prior that does not fit; None of one that may."""
        if not self.is_poor:
            return None
        return (
            f"prior.source: {source} does not fit these pictures: in {len(self.restored)} holes made in known pixels "
            f"it reaches {self.restored_db:.1f} dB, and a smooth filling {self.smooth_db:.1f} dB; "
            "choose a prior that was trained on pictures like these, or train one on them"
        )


def _psnr_db(errors: Sequence[float]) -> float:
    return float(10 * np.log10(4 / max(1e-12, float(np.mean(errors)))))


def made_holes(keep_mask: Tensor) -> Tensor:
    """Return (N, R, R) bool, True = known pixel that is taken away: the hole, turned to where the most of it is known.

    Args:
        keep_mask: (N, R, R) bool, True = known pixel.
    """
    hole = ~keep_mask
    turned = [each.rot90(k, (1, 2)) & keep_mask for each in (hole, hole.flip(2)) for k in range(4)]
    places = torch.stack(turned)
    best = places.sum((2, 3)).argmax(0)
    return places[best, torch.arange(len(keep_mask))]


def smooth_filling(known: Tensor, keep_mask: Tensor) -> Tensor:
    """Return pictures whose holes are filled from their surroundings, coarse to fine, and then relaxed.

    Args:
        known: (N, C, R, R) float32; the hole is not read.
        keep_mask: (N, 1, R, R) bool, True = known pixel.

    Source: Gortler et al., "The lumigraph", SIGGRAPH 1996, section 3.4 (pull-push); then Jacobi's relaxation.
    """
    weight = keep_mask.float()
    filled = _pull_push(torch.where(keep_mask, known, 0), weight)
    for _ in range(_RELAXATIONS):
        around = torch.nn.functional.pad(filled, (1, 1, 1, 1), mode="replicate")
        mean = (around[..., 1:-1, 2:] + around[..., 1:-1, :-2] + around[..., 2:, 1:-1] + around[..., :-2, 1:-1]) / 4
        filled = torch.where(keep_mask, known, mean)
    return filled


def _pull_push(light: Tensor, weight: Tensor) -> Tensor:
    """Return means of known light where weights are 1, and what coarser means say elsewhere."""
    if min(light.shape[-2:]) == 1 or bool((weight == 1).all()):
        return light
    total = torch.nn.functional.avg_pool2d(weight, 2, ceil_mode=True)
    mean = torch.nn.functional.avg_pool2d(light * weight, 2, ceil_mode=True) / total.clamp(min=1e-6)
    coarse = _pull_push(mean, (total > 0).float())
    above = torch.nn.functional.interpolate(coarse, light.shape[-2:], mode="bilinear", align_corners=False)
    return light * weight + above * (1 - weight)


def can_be_tried(prior: LoadedPrior) -> bool:
    """Return whether a prior needs no class, or has one for windows that bring none."""
    return prior.num_classes is None or prior.default_label is not None


def fit_of(prior: Prior, sampler: Sampler, windows: Tensor, keep_mask: Tensor) -> Fit:
    """Return how a prior's restorations of made holes compare with smooth fillings.

    Args:
        prior: the prior.
        sampler: how it is asked.
        windows: (N, C, R, R) float32 in [-1, 1], on the host; the hole is not read.
        keep_mask: (N, R, R) bool, True = known pixel.
    """
    made = made_holes(keep_mask)
    enough = made.sum((1, 2)) >= _LEAST_HOLE_PX
    windows, made, keep_mask = windows[enough], made[enough][:, None], (keep_mask & ~made)[enough][:, None]
    if not len(windows):
        return Fit((), ())
    device = windows.device
    if isinstance(prior, LoadedPrior):
        prior, device = prior.labelled(None, len(windows)), device_of(prior)
    restored = sample(sampler, prior, windows.to(device), keep_mask.to(device), range(len(windows))).cpu()
    fillings = restored, smooth_filling(windows, keep_mask)
    squares = (((filling.clamp(-1, 1) - windows) ** 2 * made).sum((1, 2, 3)) for filling in fillings)
    pixels = made.sum((1, 2, 3)) * windows.shape[1]
    mine, others = ((square / pixels).tolist() for square in squares)
    return Fit(tuple(mine), tuple(others))


def seconds_of(prior: LoadedPrior, nfe: int, windows: int) -> float:
    """Return about how long `nfe` evaluations of so many windows take here, from one of one window."""
    device, side = device_of(prior), prior.resolution_px
    x_t = torch.zeros(1, prior.channels, side, side, device=device)
    started = time.perf_counter()
    with torch.inference_mode():
        _ = float(prior.labelled(None, 1)(x_t, torch.zeros(1, dtype=torch.long, device=device)).eps.mean())
    return (time.perf_counter() - started) * nfe * windows
