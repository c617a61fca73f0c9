"""RePaint as a diffusers pipeline: the maintained successor of the one that diffusers deprecated."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DModel
from torch import Tensor, nn

from repaint_batch.errors import MaskInvalid
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.batching import batches
from repaint_batch.sampler.noise import KeyedNoise
from repaint_batch.sampler.presets import Sampler


class RePaintPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Restores pictures with a pixel diffusion model.

    Args:
        unet: network that predicts noise, x_0 or v.
        scheduler: any diffusers scheduler with betas; says what the network was trained with, never how to sample.
        classifier: noisy-image classifier that guides the sampler.
        classifier_scale: strength of that guidance.
    """

    model_cpu_offload_seq = "unet"
    _optional_components = ["classifier"]  # noqa: RUF012

    def __init__(
        self, unet: UNet2DModel, scheduler: Any, classifier: nn.Module | None = None, classifier_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, classifier=classifier)
        self.register_to_config(classifier_scale=classifier_scale)
        self._loaded: LoadedPrior | None = None

    @classmethod
    def from_prior(cls, prior: LoadedPrior) -> "RePaintPipeline":
        """Return a pipeline around `prior`, without copying its network."""
        pipeline = cls(prior.network, prior.scheduler, prior.classifier, prior.classifier_scale)
        pipeline._loaded = prior
        return pipeline

    @property
    def prior(self) -> LoadedPrior:
        """The network as samplers see it."""
        parts = (self.unet, self.scheduler, self.classifier)
        if self._loaded and (self._loaded.network, self._loaded.scheduler, self._loaded.classifier) == parts:
            return self._loaded
        return LoadedPrior(
            self.unet,
            Process.from_scheduler(self.scheduler.config, type(self.scheduler).__name__),
            self.scheduler,
            classifier=self.classifier,
            classifier_scale=self.config.classifier_scale,
        )

    def restore(
        self,
        known: Tensor,
        keep_mask: Tensor,
        keys: Sequence[int],
        *,
        sampler: Sampler,
        batch_windows: int,
        class_labels: Sequence[int] | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Return restored windows, each the same whatever else is in the call.

        Args:
            known: (N, C, H, W) float32 in [-1, 1]; the hole is never read.
            keep_mask: (N, 1, H, W) bool, True = known pixel.
            keys: N 64-bit noise keys, see `repaint_batch.sampler.noise.sample_key`.
            sampler: algorithm and settings.
            batch_windows: windows in every network call; the last batch is padded to it.
            class_labels: N classes; None takes the prior's default, if it has one.
            on_batch: called after every batch with the number of windows that it restored.

        Returns:
            (N, C, H, W) float32 on the device of `known`; known pixels are exactly those of `known`.

        Raises:
            PriorError: the windows or labels do not fit the network.
            MaskInvalid: the masks do not fit the windows.
        """
        prior = self.prior
        prior.check_size(known.shape)
        if keep_mask.shape != (len(known), 1, *known.shape[2:]) or len(keys) != len(known):
            raise MaskInvalid(
                f"masks {tuple(keep_mask.shape)} and {len(keys)} keys do not fit windows {tuple(known.shape)}"
            )
        labels = None if class_labels is None else [int(label) for label in class_labels]
        if labels is not None and len(labels) != len(known):
            raise MaskInvalid(f"{len(labels)} class labels for {len(known)} windows")
        restored = []
        for number, batch in enumerate(batches(known, keep_mask.bool(), keys, batch_windows)):
            part = None
            if labels is not None:
                part = labels[number * batch_windows : number * batch_windows + batch.count]
                part = part + [part[0]] * (batch_windows - batch.count)
            conditioned = prior.labelled(part, batch_windows)
            with torch.inference_mode():
                device = next(self.unet.parameters()).device
                x_0 = sampler.sample(
                    conditioned,
                    batch.known.to(device=device, dtype=torch.float32),
                    batch.keep_mask.to(device),
                    KeyedNoise(batch.keys, known.shape[1:], device),
                    guidance=conditioned.guidance,
                )
            restored.append(x_0[: batch.count].to(known.device))
            if on_batch is not None:
                on_batch(batch.count)
        return torch.cat(restored) if restored else known.clone()
