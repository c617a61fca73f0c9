"""Presets and samplers: their price, their description, and that each runs as its table says."""

import json
from dataclasses import replace
from typing import get_args

import pytest
import torch

from repaint_batch.config import PresetName
from repaint_batch.errors import ConfigError, PriorError
from repaint_batch.evaluate.samplers import Langevin, Projected
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.presets import PRESETS, sampler_of
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.run import sample
from repaint_batch.sampler.sampler import Sampler

from .oracles import SHAPE, known_picture, left_known, mixture_prior

SMALL = [RePaint(12, 3, 2), Projected(9, jump_length=3, jump_n_sample=2), Langevin(4, 2), AnnealedLangevin(9)]
IDS = [type(sampler).__name__ for sampler in SMALL]
PRIOR = mixture_prior()


def _run(sampler: Sampler, **options):
    calls = []

    def prior(x_t, t):
        calls.append(int(t[0]))
        return PRIOR(x_t, t)

    prior.schedule, prior.fixed_large_variance = PRIOR.schedule, False
    known, keep = known_picture().expand(3, *SHAPE), left_known().expand(3, *SHAPE)
    return sample(sampler, prior, known, keep, [1, 2, 3], **options), calls


def test_the_config_names_the_presets():
    assert list(PRESETS) == list(get_args(PresetName))


def test_presets_cost_what_their_names_promise():
    assert PRESETS["paper"].nfe == 2410
    assert PRESETS["balanced"].nfe <= 120
    assert PRESETS["fast"].nfe <= 60
    assert PRESETS["draft"].nfe <= 30


@pytest.mark.parametrize("sampler", SMALL, ids=IDS)
def test_a_sampler_calls_the_network_as_often_as_it_says(sampler):
    states = []
    restored, calls = _run(sampler, on_step=states.append)
    assert len(calls) == sampler.nfe
    assert [state.position for state in states] == list(range(1, sampler.nfe + 1))
    assert bool(torch.isfinite(restored).all())


@pytest.mark.parametrize("sampler", SMALL, ids=IDS)
def test_guidance_pulls_where_it_points(sampler):
    hole = ~left_known()[0]
    plain, _ = _run(sampler)
    pulled, _ = _run(sampler, guidance=lambda x_t, t: torch.full_like(x_t, 5.0))
    assert float((pulled - plain)[:, 0][:, hole].mean()) > 0.005


def test_settings_and_version_are_described_and_tell_samplers_apart():
    described = [json.dumps(sampler.describe(), sort_keys=True) for sampler in [*PRESETS.values(), *SMALL]]
    assert len(set(described)) == len(described)

    class Other(AnnealedLangevin):
        version = AnnealedLangevin.version + 1

    assert Other(9).describe() != AnnealedLangevin(9).describe()


def test_more_steps_than_the_prior_has_are_refused():
    steps = len(PRIOR.schedule) + 1
    with pytest.raises(PriorError, match=f"{steps} steps were asked of a prior that has {steps - 1}"):
        RePaint(steps).table(PRIOR.schedule)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_enter_where_signal_and_noise_are_about_equal(name):
    table = PRESETS[name].table(PRIOR.schedule)
    assert 0.4 < float(table.signal[table.entry] ** 2) < 0.6


OWN = replace(PRESETS["draft"], pull=10.0)  # type: ignore[type-var]


def test_a_job_takes_other_steps_or_a_sampler_of_ones_own() -> None:
    assert sampler_of("fast") is PRESETS["fast"]
    assert sampler_of("fast", 7).nfe == 7
    assert sampler_of("fast", None, f"{__name__}:OWN") is OWN
    assert sampler_of("fast", 5, "repaint_batch.sampler.langevin:AnnealedLangevin").nfe == 5


@pytest.mark.parametrize(
    ("own", "words"), [("nowhere:it", "cannot be imported"), (f"{__name__}:gone", "cannot be imported"), ("os:sep", "is a str")]
)
def test_what_is_no_sampler_is_refused(own: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        sampler_of("fast", None, own)
