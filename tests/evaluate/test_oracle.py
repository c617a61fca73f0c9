"""Samplers held against the exact laws."""

import pytest
import torch

from repaint_batch.evaluate.laws import LAWS, overlap
from repaint_batch.evaluate.metrics import energy_distance
from repaint_batch.evaluate.oracle import evaluate_law, law_problems, restore
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.run import sample


@pytest.fixture(scope="module")
def scores():
    samplers = {"plain": RePaint(30, 10, 1), "draft": PRESETS["draft"], "fast": PRESETS["fast"]}
    found = list(evaluate_law("emoji", samplers, pictures=4, samples=32, seed=3))
    return {(score.sampler, score.mask, score.metric): score for score in found}


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
        assert score.part == "law emoji"
        assert score.low <= score.value <= score.high
        assert score.count == 4
    assert {mask for _, mask, _ in scores} == {"wide", "narrow", "sr2x", "altlines", "half", "expand", "all"}


@pytest.mark.parametrize("law", [name for name in LAWS if name != "emoji"])
def test_the_cheapest_preset_is_nearer_to_every_law_than_unguided_repaint_of_twice_its_price(law):
    samplers = {"plain": RePaint(30, 10, 1), "cheapest": list(PRESETS.values())[-1]}
    found = evaluate_law(law, samplers, pictures=3, samples=16, masks=["sr2x", "half"], seed=5)
    distance = {score.sampler: score.value for score in found if (score.mask, score.metric) == ("all", "energy_distance")}
    assert distance["cheapest"] < 0.7 * distance["plain"]


@pytest.mark.parametrize("sampler", [PRESETS["preview"], RePaint(20, 5, 2)], ids=["annealed", "repaint"])
def test_what_the_judge_runs_has_the_law_of_what_a_job_runs(sampler):
    law, count = overlap(), 300
    problem = law_problems(law, ["half"], 1, seed=1)[0]
    known, keep = (x.expand(count, *x.shape) for x in (problem.known, problem.keep_mask))
    judged, job = restore(sampler, law, known, keep, seed=2), sample(sampler, law, known, keep, list(range(count)))
    assert torch.equal(judged[keep], known[keep])
    assert energy_distance(problem.hole(judged), problem.hole(job)) < 0.005
