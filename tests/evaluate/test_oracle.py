"""The oracle part on the mixture that comes with the package."""

import numpy as np
import pytest
import torch
from PIL import Image

from repaint_batch.evaluate.oracle import evaluate_oracle, fit_oracle, oracle_prior, oracle_problems
from repaint_batch.priors.pictures import held_out
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint


@pytest.fixture(scope="module")
def scores():
    samplers = {"plain": RePaint(30, 10, 1), "draft": PRESETS["draft"], "fast": PRESETS["fast"]}
    found = list(evaluate_oracle(samplers, pictures=4, samples=32, seed=3))
    return {(score.sampler, score.mask, score.metric): score for score in found}


def test_the_mixture_is_a_fair_oracle():
    prior = oracle_prior()
    assert prior.shape == (1, 8, 8)
    assert len(prior.weights) == 24
    assert prior.share_outside(1.0) < 2e-3


def test_its_posteriors_are_of_several_components():
    prior = oracle_prior()
    likely = [float(problem.posterior.weights.max()) for problem in oracle_problems(prior, ["half", "sr2x", "expand"], 12)]
    assert sum(weight < 0.9 for weight in likely) > len(likely) / 3


def test_exact_samples_score_as_exact(scores):
    assert abs(scores["exact", "all", "energy_distance"].value) < 0.006
    assert scores["exact", "all", "variance_ratio"].value == pytest.approx(1, abs=0.06)


def test_better_samplers_score_better(scores):
    plain, draft, fast = (scores[name, "all", "energy_distance"].value for name in ("plain", "draft", "fast"))
    assert plain > 3 * draft
    assert draft > fast > scores["exact", "all", "energy_distance"].value
    assert scores["plain", "all", "mode_distance"].value > scores["fast", "all", "mode_distance"].value


def test_every_mask_is_scored_with_an_interval(scores):
    for score in scores.values():
        assert score.low <= score.value <= score.high
        assert score.count == 4
    assert {mask for _, mask, _ in scores} == {"wide", "narrow", "sr2x", "altlines", "half", "expand", "all"}


def test_fitting_leaves_held_out_pictures_aside(tmp_path):
    generator = np.random.default_rng(0)
    names = [f"{i:x}.png" for i in range(200)]
    for name in names:
        # Held-out pictures are black: the fit would see them.
        shade = 0 if held_out(name, 20) else generator.integers(120, 255, (12, 12, 3))
        Image.fromarray(np.broadcast_to(np.uint8(shade), (12, 12, 3)).copy()).save(tmp_path / name)
    assert any(held_out(name, 20) for name in names)
    fitted = fit_oracle(tmp_path)
    assert float(fitted.means.min()) > -0.3
    torch.testing.assert_close(fitted.weights.sum(), torch.ones((), dtype=torch.float64))
