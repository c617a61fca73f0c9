"""What a network was trained to predict, read from a diffusers scheduler's config.

A scheduler's config says two things: how the network was trained (betas, prediction and variance type), which is read
here, and how that scheduler would sample (spacing, offsets, clipping), which is not: the samplers of this package space
the steps themselves and clip pred_x0 to [-1, 1], the range of pictures. What would make this wrong is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from repaint_batch.errors import PriorError
from repaint_batch.sampler.schedule import NoiseSchedule

PredictionType = Literal["epsilon", "sample", "v_prediction"]
VarianceType = Literal["fixed_small", "fixed_large", "learned", "learned_range"]


@dataclass(frozen=True, eq=False)
class Process:
    """A forward process and what the network says of it.

    Attributes:
        schedule: every step the network was trained with.
        prediction: what its first C output channels are: eps, x_0 or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0.
        variance: of the reverse step: fixed to the posterior's or to beta, or learned in C more channels, as a variance
            or as a fraction of the range between those two.
    """

    schedule: NoiseSchedule
    prediction: PredictionType = "epsilon"
    variance: VarianceType = "fixed_small"

    @property
    def learned(self) -> bool:
        """Whether the network has C more output channels, for the variance."""
        return self.variance.startswith("learned")

    def describe(self) -> dict[str, Any]:
        """Return all that decides numbers, as JSON-serialisable values."""
        return {"betas": self.schedule.betas.tolist(), "prediction": self.prediction, "variance": self.variance}

    @classmethod
    def from_scheduler(cls, config: Mapping[str, Any], where: str) -> "Process":
        """Return the process of a diffusers scheduler's `config`; `where` names it in errors.

        Raises:
            PriorError: the scheduler is of another family of models, or asks for what these samplers do not do.
        """
        name = config.get("_class_name", "scheduler")
        if "beta_schedule" not in config and config.get("trained_betas") is None:
            raise PriorError(f"{where}: {name} has no betas; only discrete DDPM processes can be used")
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in get_args(PredictionType):
            raise PriorError(f"{where}: prediction_type {prediction!r} is not one of {get_args(PredictionType)}")
        variance = str(config.get("variance_type") or "fixed_small").removesuffix("_log")
        if variance not in get_args(VarianceType):
            raise PriorError(f"{where}: variance_type {variance!r} is not one of {get_args(VarianceType)}")
        if config.get("thresholding"):
            raise PriorError(f"{where}: thresholding is not supported; set it to false")
        if config.get("clip_sample") and config.get("clip_sample_range", 1.0) != 1.0:
            size = config["clip_sample_range"]
            raise PriorError(f"{where}: clip_sample_range is {size}, but pictures here are in [-1, 1]")
        schedule = NoiseSchedule.from_betas(_betas(config, where))
        if config.get("rescale_betas_zero_snr"):
            if prediction == "epsilon":
                raise PriorError(
                    f"{where}: rescale_betas_zero_snr with prediction_type epsilon: at zero SNR eps does not determine x_0"
                )
            schedule = _without_zero_snr(schedule)
        return cls(schedule, prediction, variance)  # type: ignore[arg-type]


def _betas(config: Mapping[str, Any], where: str) -> torch.Tensor:
    from diffusers import DDPMScheduler  # takes seconds to import

    # Its own tables, so that every schedule it trains is the one that is sampled.
    keys = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "rescale_betas_zero_snr")
    settings = {key: config[key] for key in keys if config.get(key) is not None}
    try:
        betas: torch.Tensor = DDPMScheduler(**settings).betas
    except (NotImplementedError, TypeError, ValueError) as error:
        raise PriorError(f"{where}: betas cannot be made from {settings!r:.200}: {error}") from error
    if betas.ndim != 1 or len(betas) < 1 or not bool(((betas > 0) & (betas <= 1)).all()):
        raise PriorError(f"{where}: betas must be a list of numbers in (0, 1]")
    return betas.double()


def _without_zero_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    # Samplers divide by the signal: the last step leaves a quarter of its variance instead of nothing.
    return NoiseSchedule(torch.cat([schedule.betas[:-1], schedule.betas[-1:].clamp(max=0.75)]), schedule.timesteps)
