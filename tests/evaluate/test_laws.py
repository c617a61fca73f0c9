"""The exact laws that samplers are judged on."""

import numpy as np
import pytest
import torch
from PIL import Image

from repaint_batch.evaluate.laws import ABOUT, LAWS, emoji, field, fit_emoji, fit_photos, mixture, overlap, photos
from repaint_batch.evaluate.oracle import law_problems
from repaint_batch.priors.pictures import held_out


def test_every_law_is_described():
    assert list(ABOUT) == list(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_lies_where_samplers_do_not_clip(name):
    law = LAWS[name]()
    assert law.share_outside(1.0) < 2e-3
    assert 0.15 < float(law.sample(500, torch.Generator().manual_seed(0)).std()) < 0.4


@pytest.mark.parametrize("name", ["emoji", "mixture", "overlap", "photos"])
def test_posteriors_of_mixtures_are_of_several_components(name):
    problems = law_problems(LAWS[name](), ["half", "sr2x", "expand"], 12)
    likely = [float(problem.posterior.weights.max()) for problem in problems]
    assert sum(weight < 0.9 for weight in likely) >= len(likely) / 4


def test_the_mixtures_are_of_the_ranks_they_are_said_to_be():
    assert [len(law().weights) for law in (emoji, mixture, overlap, photos, field)] == [24, 24, 6, 16, 1]
    assert [law().variances.shape[1] for law in (emoji, mixture, overlap, photos)] == [64, 64, 6, 12]
    assert all(float((law().variances.amax(1) / law().rest).min()) > 8 for law in (overlap, photos))


def test_the_components_of_overlap_share_a_plane():
    directions = overlap().directions
    planes = directions @ directions.mT
    torch.testing.assert_close(planes, planes[:1].expand_as(planes))


def test_another_seed_is_another_law_of_the_same_kind():
    for law in (mixture, overlap):
        assert not torch.equal(law(1).means, law(2).means)
        assert torch.equal(law(1).means, law(1).means)
        assert float(law(1).mixture.covariance.trace() / law(2).mixture.covariance.trace()) == pytest.approx(1, abs=0.3)


def test_the_spectrum_of_the_field_falls_with_the_square_of_the_frequency():
    pictures = field(32).sample(400, torch.Generator().manual_seed(0))[:, 0].to(torch.float64)
    taper = torch.hann_window(32, periodic=False, dtype=torch.float64)
    power = torch.fft.fft2(pictures * taper[:, None] * taper).abs().square().mean(0)
    along = (power[:, 0] + power[0]) / 2
    slope = np.polyfit(np.log([3, 4, 6, 8]), np.log(along[[3, 4, 6, 8]].numpy()), 1)[0]
    assert slope == pytest.approx(-2, abs=0.4)


def test_fitting_emoji_leaves_held_out_pictures_aside(tmp_path):
    generator = np.random.default_rng(0)
    names = [f"{i:x}.png" for i in range(200)]
    for name in names:
        # Held-out pictures are black: the fit would see them.
        shade = 0 if held_out(name, 20) else generator.integers(120, 255, (12, 12, 3))
        Image.fromarray(np.broadcast_to(np.uint8(shade), (12, 12, 3)).copy()).save(tmp_path / name)
    assert any(held_out(name, 20) for name in names)
    fitted = fit_emoji(tmp_path)
    assert float(fitted.means.min()) > -0.3
    torch.testing.assert_close(fitted.weights.sum(), torch.ones((), dtype=torch.float64))


def test_fitting_photographs_finds_the_direction_in_which_they_vary(tmp_path):
    """Photographs that are ramps to the right: patches differ in brightness, and are bright on the right."""
    ramp = np.linspace(0, 255, 200)[None].repeat(120, 0)
    Image.fromarray(np.uint8(ramp)).save(tmp_path / "ramp.png")
    fitted = fit_photos([tmp_path / "ramp.png"], rank=2)
    assert fitted.shape == (1, 8, 8)
    assert float(fitted.variances.amax(1).min()) > 100 * float(fitted.rest.max())
    mean = (fitted.weights @ fitted.means).reshape(8, 8).mean(0)
    assert bool((mean.diff() > 0).all())
