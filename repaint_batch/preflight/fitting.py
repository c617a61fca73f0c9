"""The prior tried in some of a corpus's own pictures, before it is run on all of them."""

from collections.abc import Sequence

import numpy as np
import torch

from repaint_batch.inpainting.fit import Fit, can_be_tried, fit_of, seconds_of
from repaint_batch.preflight.findings import Place
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.presets import PRESETS

QUICK_S = 20.0
"""Longest that a prior is tried unasked; one that needs longer here, as a large one does without a GPU, is not."""
LADDER = ("preview", "draft", "fast", "balanced")
_NOISE = 1.0  # standard errors within which two presets do equally well


def try_prior(prior: LoadedPrior, places: Sequence[Place], preset: str = LADDER[0], at_most_s: float = QUICK_S) -> Fit | None:
    """Return how a prior does in windows of a corpus; None where it cannot be tried, or would take longer than `at_most_s`."""
    sampler = PRESETS[preset]
    if not places or not can_be_tried(prior):
        return None
    windows = torch.from_numpy(np.stack([window for window, _ in places])).float().permute(0, 3, 1, 2)
    try:
        if seconds_of(prior, sampler.nfe, len(places)) > at_most_s:
            return None
        return fit_of(prior, sampler, windows, torch.from_numpy(np.stack([keep for _, keep in places])))
    except RuntimeError:  # the job's arithmetic or memory may be what only its actors have
        return None


def enough(fits: dict[str, Fit]) -> str:
    """Return the cheapest preset of those tried on the same places that no dearer one betters beyond chance."""
    names = list(fits)
    for number, name in enumerate(names):
        gains = [np.array(fits[name].restored) - np.array(fits[dearer].restored) for dearer in names[number + 1 :]]
        if all(len(gain) < 2 or gain.mean() <= _NOISE * gain.std(ddof=1) / np.sqrt(len(gain)) for gain in gains):
            return name
    return names[-1]
