"""The network of guided-diffusion checkpoints, under the names that their state dicts use.

A UNet of residual blocks that are told the time (and class), attention at the coarse levels, and residual blocks or
strided convolutions between levels; and its encoder half with attention pooling, the classifier of noisy pictures.

Why it is written here: diffusers' `UNet2DModel` has no such classifier, no network whose first level is narrower than
its time embedding (512 px) and no fixed number of heads. The PyPI package azula (0.11) carries the original network, as
a private copy inside a plug-in, and asks for torchvision, einops and gdown; the few layers below need torch alone, make
a diffusers model, so that pipelines save, load and share it, and the tests hold them to recorded outputs.

Two settings leave no trace in the weights: how many channels a head has, and the attention's order, i.e. whether the 3C
channels of ``qkv`` are split into heads first ("legacy") or into q, k, v first.

Source: Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, section 3 and appendices;
names and shapes from the published checkpoints.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 32


def time_features(t: Tensor, channels: int) -> Tensor:
    """Return cosines, then sines, of `t` (B,) at geometrically falling frequencies: (B, channels) float32."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t[:, None].to(torch.float32) * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, channels % 2))


def attend(qkv: Tensor, heads: int, legacy: bool) -> Tensor:
    """Return what `heads` heads attend to.

    Args:
        qkv: (B, 3 C, L) queries, keys and values.
        heads: a divisor of C.
        legacy: the channels are (heads, 3, C / heads) and not (3, heads, C / heads).

    Returns:
        (B, C, L).
    """
    batch, width, length = qkv.shape
    # CUDA's fast kernels want channels side by side in memory; with pixels there, L×L matrices would be built.
    by_pixel = qkv.mT.contiguous()
    if legacy:
        q, k, v = by_pixel.view(batch, length, heads, 3, -1).movedim(1, 3).unbind(2)
    else:
        q, k, v = by_pixel.view(batch, length, 3, heads, -1).movedim(1, 3).unbind(1)
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.mT.reshape(batch, width // 3, length)


class ResBlock(nn.Module):
    """Two convolutions around a time embedding; `resample` halves (-1) or doubles (1) the picture on the way."""

    def __init__(self, inputs: int, outputs: int, embedding: int, scale_shift: bool, resample: int = 0) -> None:
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.in_layers = nn.Sequential(nn.GroupNorm(_GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs * (2 if scale_shift else 1)))
        # The identity stands where training has dropout, so that the convolution keeps its number.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, outputs), nn.SiLU(), nn.Identity(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, activation, convolution = self.in_layers
        h = convolution(self._resampled(activation(norm(x))))
        told = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + told)
        return self.skip_connection(self._resampled(x)) + h  # type: ignore[no-any-return]

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample < 0:
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.resample > 0 else x


class AttentionBlock(nn.Module):
    """Every pixel attends to every other."""

    def __init__(self, channels: int, heads: int, legacy: bool) -> None:
        super().__init__()
        self.heads, self.legacy = heads, legacy
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        mixed: Tensor = self.proj_out(attend(self.qkv(self.norm(flat)), self.heads, self.legacy))
        return (flat + mixed).reshape(x.shape)


class Downsample(nn.Module):
    """A strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Pixels doubled, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))  # type: ignore[no-any-return]


class AttentionPool(nn.Module):
    """Logits read off one more pixel, their mean, that attends to all; its qkv is always split into q, k, v first."""

    def __init__(self, side_px: int, channels: int, head_channels: int, outputs: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.positional_embedding = nn.Parameter(torch.randn(channels, side_px**2 + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        tokens = torch.cat([flat.mean(dim=-1, keepdim=True), flat], dim=-1) + self.positional_embedding
        return self.c_proj(attend(self.qkv_proj(tokens), self.heads, legacy=False))[:, :, 0]  # type: ignore[no-any-return]


class _Trunk(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """What both networks share: the time embedding, the way down and the middle."""

    def _build_encoder(self, classes: int | None) -> tuple[list[int], int]:
        """Make the way down and the middle; return the width of every skip connection, and the embedding's."""
        c = self.config
        self._embedding = 4 * c.model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(c.model_channels, self._embedding), nn.SiLU(), nn.Linear(self._embedding, self._embedding)
        )
        if classes is not None:
            self.label_emb = nn.Embedding(classes, self._embedding)
        width = int(c.channel_mult[0] * c.model_channels)
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(c.in_channels, width, 3, padding=1)])])
        skips = [width]
        for level, multiple in enumerate(c.channel_mult):
            for _ in range(c.num_res_blocks):
                block = [self._res_block(width, width := int(multiple * c.model_channels))]
                self.input_blocks.append(nn.ModuleList(block + self._attention(level, width)))
                skips.append(width)
            if level < len(c.channel_mult) - 1:
                down = self._res_block(width, width, -1) if c.resblock_updown else Downsample(width)
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(width)
        attention = AttentionBlock(width, self._heads(width), not c.use_new_attention_order)
        self.middle_block = nn.ModuleList([self._res_block(width, width), attention, self._res_block(width, width)])
        return skips, width

    def _res_block(self, inputs: int, outputs: int, resample: int = 0) -> nn.Module:
        return ResBlock(inputs, outputs, self._embedding, self.config.use_scale_shift_norm, resample)

    def _attention(self, level: int, width: int) -> list[nn.Module]:
        if 2**level not in self.config.attention_resolutions:
            return []
        return [AttentionBlock(width, self._heads(width), not self.config.use_new_attention_order)]

    def _heads(self, width: int) -> int:
        c = self.config
        return int(c.num_heads if c.num_head_channels is None else width // c.num_head_channels)

    def _embed(self, x: Tensor, timestep: Tensor | float) -> Tensor:
        t = torch.as_tensor(timestep, device=x.device).expand(len(x))
        return self.time_embed(time_features(t, self.config.model_channels).to(x.dtype))  # type: ignore[no-any-return]

    def _encode(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for block in self.input_blocks:
            x = _run(block, x, embedding)
            skips.append(x)
        return _run(self.middle_block, x, embedding), skips


def _run(layers: nn.ModuleList | Any, x: Tensor, embedding: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
    return x


class GuidedUNet(_Trunk):
    """A guided-diffusion UNet, called like diffusers' `UNet2DModel`.

    Args:
        sample_size: side of the pictures it was trained on, in pixels.
        in_channels: colour channels.
        out_channels: the same, or twice that where the variance is learned.
        model_channels: width that `channel_mult` multiplies.
        channel_mult: width of each level, finest first.
        num_res_blocks: residual blocks at each level on the way down.
        attention_resolutions: factors of downsampling (1, 2, 4, ...) at which blocks attend.
        num_heads: attention heads, where `num_head_channels` is None.
        num_head_channels: channels of a head.
        num_classes: classes it may be asked for; None for an unconditional network.
        use_scale_shift_norm: the embedding scales and shifts what a norm gives, instead of being added before it.
        resblock_updown: residual blocks change the resolution, instead of convolutions.
        use_new_attention_order: see the module's docstring.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        channel_mult: Sequence[float],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        num_heads: int = 1,
        num_head_channels: int | None = None,
        num_classes: int | None = None,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__()
        skips, width = self._build_encoder(num_classes)
        self.output_blocks = nn.ModuleList()
        for level, multiple in reversed(list(enumerate(channel_mult))):
            for number in range(num_res_blocks + 1):
                block = [self._res_block(width + skips.pop(), width := int(multiple * model_channels))]
                block += self._attention(level, width)
                if level and number == num_res_blocks:
                    block.append(self._res_block(width, width, 1) if resblock_updown else Upsample(width))
                self.output_blocks.append(nn.ModuleList(block))
        self.out = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1))

    def forward(
        self, sample: Tensor, timestep: Tensor | float, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> Any:
        """Return the prediction for `sample` (B, C, H, W) at `timestep` (B,) and `class_labels` (B,) as ``.sample``."""
        embedding = self._embed(sample, timestep)
        if self.config.num_classes is not None:
            if class_labels is None:
                raise ValueError("a class-conditional network needs class_labels")
            embedding = embedding + self.label_emb(class_labels)
        h, skips = self._encode(sample, embedding)
        for block in self.output_blocks:
            h = _run(block, torch.cat([h, skips.pop()], dim=1), embedding)
        h = self.out(h)
        return UNet2DOutput(sample=h) if return_dict else (h,)


class GuidedClassifier(_Trunk):
    """A guided-diffusion classifier of noisy pictures; arguments as for `GuidedUNet`, `out_channels` its classes."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int,
        in_channels: int,
        out_channels: int,
        model_channels: int,
        channel_mult: Sequence[float],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        num_head_channels: int,
        num_heads: int = 1,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__()
        _, width = self._build_encoder(None)
        pool = AttentionPool(sample_size // 2 ** (len(channel_mult) - 1), width, num_head_channels, out_channels)
        self.out = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), pool)

    def forward(self, sample: Tensor, timestep: Tensor | float) -> Tensor:
        """Return logits (B, classes) of `sample` (B, C, H, W) at `timestep` (B,)."""
        h, _ = self._encode(sample, self._embed(sample, timestep))
        return self.out(h)  # type: ignore[no-any-return]
