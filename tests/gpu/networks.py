"""Networks of the sizes that people use, with random weights, and windows to restore."""

from dataclasses import replace

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import nn

from repaint_batch.config import PriorConfig
from repaint_batch.priors.guided_diffusion import GuidedUNet
from repaint_batch.priors.load import Precision, load_prior
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain, Slots
from repaint_batch.storage import Storage

from .parts import Setting

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")


def faces(tiny: bool) -> UNet2DModel:
    """Return a network of the shape of google/ddpm-ema-celebahq-256, 113.7 M parameters."""
    widths = (8, 8, 16) if tiny else (128, 128, 256, 256, 512, 512)
    levels = len(widths)
    return UNet2DModel(
        sample_size=16 if tiny else 256,
        block_out_channels=widths,
        layers_per_block=1 if tiny else 2,
        down_block_types=tuple("AttnDownBlock2D" if level == levels - 2 else "DownBlock2D" for level in range(levels)),
        up_block_types=tuple("AttnUpBlock2D" if level == 1 else "UpBlock2D" for level in range(levels)),
        attention_head_dim=None,
        norm_num_groups=4 if tiny else 32,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )


def guided(tiny: bool) -> GuidedUNet:
    """Return the published unconditional 256 px network of guided-diffusion, 552.8 M parameters."""
    return GuidedUNet(
        sample_size=16 if tiny else 256,
        in_channels=3,
        out_channels=6,
        model_channels=32 if tiny else 256,
        channel_mult=(1, 1) if tiny else (1, 1, 2, 2, 4, 4),
        num_res_blocks=1 if tiny else 2,
        attention_resolutions=(2,) if tiny else (8, 16, 32),
        num_head_channels=16 if tiny else 64,
        use_scale_shift_norm=True,
        resblock_updown=True,
    )


NETWORKS = {"faces": faces, "guided": guided}
"""Networks with random weights, by name."""


def prior_named(name: str, setting: Setting, precision: Precision = "bfloat16", *, channels_last: bool = True) -> LoadedPrior:
    """Return ``photo``, the bundled prior of photographs, or one of `NETWORKS`, on the device."""
    if name == "photo" and not setting.tiny:
        prior = load_prior(PriorConfig(source="bundled:photo"), Storage(), device=setting.device, precision=precision)
    else:
        torch.manual_seed(0)
        with setting.device:
            network: nn.Module = NETWORKS["faces" if name == "photo" else name](setting.tiny)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = network.eval().requires_grad_(False).to(memory_format=layout)  # type: ignore[call-overload]
        for parameter in network.parameters():  # whole, as priors are loaded; diffusers' own `to` warns
            parameter.data = parameter.data.to(getattr(torch, precision))
        variance = "learned_range" if name == "guided" else "fixed_small"
        scheduler = DDPMScheduler(variance_type=variance)
        prior = LoadedPrior(network, Process.from_scheduler(scheduler.config, name), scheduler)
    if not channels_last:
        prior.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return prior


def compiled(prior: LoadedPrior) -> LoadedPrior:
    """Return a prior whose network is compiled."""
    prior.network.compile(dynamic=False)
    return replace(prior, compiled=True)


def chain(prior: LoadedPrior, number: int) -> Chain:
    """Return a window that follows from its number; every third starts from a draft."""
    seeded, side = torch.Generator().manual_seed(number), prior.resolution_px
    known = torch.rand((3, side, side), generator=seeded) * 2 - 1
    keep = torch.rand((1, side, side), generator=seeded) < 0.5
    return Chain(sample_key(7, str(number)), known, keep, known.flip(-1) if number % 3 == 2 else None)


def slots_of(prior: LoadedPrior, count: int, setting: Setting, sampler: Sampler, *, recorded: bool = True) -> Slots:
    """Return a batch of `count` free slots."""
    side = prior.resolution_px
    shape = (count, prior.channels, side, side)
    table = sampler.table(prior.schedule)
    return Slots(prior, table, shape, device=setting.device, compiled=prior.compiled, recorded=recorded)


def full_slots(prior: LoadedPrior, count: int, setting: Setting, *, steps: int = 60, recorded: bool = True) -> Slots:
    """Return a batch whose slots all hold chains that have begun, none from a draft."""
    slots = slots_of(prior, count, setting, AnnealedLangevin(steps), recorded=recorded)
    numbers = [number for number in range(2 * count + 2) if number % 3 != 2][:count]
    slots.put([chain(prior, number) for number in numbers])
    for _ in range(2):
        slots.step()
    return slots
