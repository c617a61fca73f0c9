"""A prior tried in windows of a corpus: of every kind that a job may have, and never the end of it."""

from dataclasses import replace

import numpy as np
import pytest

from repaint_batch.inpainting.fit import Fit
from repaint_batch.preflight.fitting import enough, try_prior
from repaint_batch.priors.loaded import LoadedPrior

from ..inpainting.test_device import prior_of
from ..tiny_networks import tiny_unet

PLACES = [(np.zeros((16, 16, 3), np.float16), np.arange(256).reshape(16, 16) % 7 > 1)] * 4


def lacking(*_: object) -> None:
    raise NotImplementedError("\"conv2d\" not implemented for 'Half'")


@pytest.mark.parametrize("classes", [None, 4])
def test_a_prior_is_asked_for_its_own_class(classes: int | None) -> None:
    prior: LoadedPrior = replace(prior_of(tiny_unet(num_class_embeds=classes)), default_label=None if classes is None else 1)
    fit = try_prior(prior, PLACES)
    assert fit is not None
    assert len(fit.restored) == len(fit.smooth) == 4


def test_what_cannot_be_tried_here_is_not() -> None:
    assert try_prior(prior_of(tiny_unet(num_class_embeds=4)), PLACES) is None, "nobody says which class"
    assert try_prior(prior_of(tiny_unet()), []) is None
    assert try_prior(prior_of(tiny_unet()), PLACES, at_most_s=0) is None
    elsewhere = prior_of(tiny_unet())
    elsewhere.network.register_forward_hook(lacking)
    assert try_prior(elsewhere, PLACES) is None


def test_a_dearer_preset_is_asked_for_where_it_does_better() -> None:
    poor, good = Fit((0.2, 0.21, 0.19), (0.1,) * 3), Fit((0.1, 0.11, 0.1), (0.1,) * 3)
    assert enough({"preview": poor, "draft": good, "fast": good}) == "draft"
    assert enough({"preview": good, "draft": good}) == "preview"
