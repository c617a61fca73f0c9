"""Untrained networks of a few thousand weights."""

from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor, nn

from repaint_batch.priors.guided_diffusion import GuidedClassifier
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process

TINY_PX = 8


def tiny_unet(seed: int = 0, **changed: Any) -> UNet2DModel:
    """Return a UNet2DModel of two levels, made for pictures of 8 px."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "sample_size": TINY_PX,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "add_attention": False,
    }
    return UNet2DModel(**settings | changed).eval().requires_grad_(False)


def prior_of(network: Any, scheduler: DDPMScheduler | None = None, **more: Any) -> LoadedPrior:
    """Return a network as samplers see it; `more` goes to `LoadedPrior`."""
    scheduler = scheduler or DDPMScheduler()
    return LoadedPrior(network, Process.from_scheduler(scheduler.config, "a test"), scheduler, **more)


def tiny_classifier(classes: int = 4) -> GuidedClassifier:
    """Return a classifier of noisy 8 px pictures."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {"model_channels": 32, "channel_mult": (1, 1), "num_res_blocks": 1}
    classifier = GuidedClassifier(TINY_PX, 3, classes, **settings, attention_resolutions=(2,), num_head_channels=16)
    return classifier.eval().requires_grad_(False)  # type: ignore[no-any-return]


def generator(seed: int = 0) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


class Narrow(nn.Module):
    """A network on a device whose memory takes so many windows and no more."""

    def __init__(self, unet: UNet2DModel, most: int) -> None:
        super().__init__()
        self.unet, self.most = unet, most
        self.config = unet.config

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Any:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("a test's own limit")
        return self.unet(x, t, class_labels=class_labels)
