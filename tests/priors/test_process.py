"""What a scheduler's config means."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, PNDMScheduler

from repaint_batch.errors import PriorError
from repaint_batch.priors.process import Process
from repaint_batch.sampler.schedule import NoiseSchedule


def process_of(scheduler: type = DDPMScheduler, **settings: Any) -> Process:
    return Process.from_scheduler(scheduler(**settings).config, "a prior")


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"])
def test_any_beta_schedule_is_the_one_of_diffusers(beta_schedule: str) -> None:
    process = process_of(beta_schedule=beta_schedule, beta_start=0.001, beta_end=0.01, num_train_timesteps=100)
    theirs = DDPMScheduler(beta_schedule=beta_schedule, beta_start=0.001, beta_end=0.01, num_train_timesteps=100)
    torch.testing.assert_close(process.schedule.alpha_bar.float(), theirs.alphas_cumprod, rtol=1e-4, atol=1e-7)
    assert process.schedule.timesteps.tolist() == list(range(100))


def test_the_usual_betas_are_ho_et_als() -> None:
    torch.testing.assert_close(process_of().schedule.betas, NoiseSchedule.linear().betas, rtol=1e-5, atol=0)


def test_trained_betas_come_first() -> None:
    betas = [0.1, 0.2, 0.3]
    assert process_of(trained_betas=betas).schedule.betas.tolist() == pytest.approx(betas)


@pytest.mark.parametrize("scheduler", [DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler])
def test_schedulers_of_the_same_family_mean_the_same(scheduler: type) -> None:
    assert process_of(scheduler).describe() == process_of(beta_start=0.0001, beta_end=0.02).describe()


@pytest.mark.parametrize(
    ("variance_type", "meaning"),
    [
        ("fixed_small", "fixed_small"),
        ("fixed_small_log", "fixed_small"),
        ("fixed_large", "fixed_large"),
        ("fixed_large_log", "fixed_large"),
        ("learned", "learned"),
        ("learned_range", "learned_range"),
    ],
)
def test_variance_types(variance_type: str, meaning: str) -> None:
    process = process_of(variance_type=variance_type)
    assert process.variance == meaning
    assert process.learned == meaning.startswith("learned")


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_zero_terminal_snr_keeps_every_level_but_the_last(prediction: str) -> None:
    process = process_of(rescale_betas_zero_snr=True, prediction_type=prediction)
    alpha_bar, theirs = process.schedule.alpha_bar, DDPMScheduler(rescale_betas_zero_snr=True).alphas_cumprod
    torch.testing.assert_close(alpha_bar[:-1].float(), theirs[:-1], rtol=1e-3, atol=0)
    assert float(theirs[-1]) == 0
    assert 0 < float(alpha_bar[-1]) < float(alpha_bar[-2]) < 1e-7
    assert torch.isfinite(process.schedule.posterior_variance).all()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"rescale_betas_zero_snr": True}, "eps does not determine x_0"),
        ({"thresholding": True}, "thresholding"),
        ({"clip_sample_range": 2.0}, r"clip_sample_range is 2.0, but pictures here are in \[-1, 1\]"),
        ({"prediction_type": "flow"}, "prediction_type 'flow'"),
        ({"trained_betas": [0.1, 1.5]}, r"numbers in \(0, 1\]"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(PriorError, match=f"a prior: .*{reason}"):
        process_of(**settings)


def test_other_families_are_refused() -> None:
    with pytest.raises(PriorError, match=r"a prior: .* has no betas"):
        process_of(FlowMatchEulerDiscreteScheduler)
    config = {**DDPMScheduler().config, "beta_schedule": "quadratic"}
    with pytest.raises(PriorError, match="quadratic"):
        Process.from_scheduler(config, "a prior")
    with pytest.raises(PriorError, match="variance_type 'guessed'"):
        Process.from_scheduler({**DDPMScheduler().config, "variance_type": "guessed"}, "a prior")
