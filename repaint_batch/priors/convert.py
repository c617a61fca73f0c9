"""guided-diffusion UNets as diffusers' `UNet2DModel`, where that can represent them exactly.

Most can be, the published 256 px ones among them: the blocks are the same under other names. What cannot: a first level
narrower than the time embedding, and a fixed number of heads, where levels differ in width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from repaint_batch.errors import PriorError
from repaint_batch.priors.guided_diffusion import AttentionBlock, GuidedUNet, ResBlock

_RES_BLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_OUTSIDE_BLOCKS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def to_unet2d(network: GuidedUNet) -> UNet2DModel:
    """Return a `UNet2DModel` that computes what `network` does, with the same weights.

    Raises:
        PriorError: diffusers cannot represent it; the message says why.
    """
    settings = unet2d_settings(network)
    state = dict(_renamed(network))
    with torch.device("meta"):
        converted = UNet2DModel(**settings)
    expected = {name: tensor.shape for name, tensor in converted.state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in state.items()}:
        raise AssertionError("the renamed weights do not fit UNet2DModel")
    converted.load_state_dict(state, assign=True)
    return converted.eval().requires_grad_(False)


def unet2d_settings(network: GuidedUNet) -> dict[str, Any]:
    """Return the config of the `UNet2DModel` that equals `network`.

    Raises:
        PriorError: there is none.
    """
    c = network.config
    if c.channel_mult[0] != 1:
        raise PriorError(f"UNet2DModel's time embedding is as wide as its first level, here {1 / c.channel_mult[0]:g} times that")
    blocks = [module for module in network.modules() if isinstance(module, AttentionBlock)]
    head_channels = {block.qkv.in_channels // block.heads for block in blocks}
    if len(head_channels) > 1:
        raise PriorError(f"UNet2DModel has attention heads of one size, here they have {sorted(head_channels)} channels")
    attends = [2**level in c.attention_resolutions for level in range(len(c.channel_mult))]
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if c.resblock_updown else ("DownBlock2D", "UpBlock2D")
    return {
        "sample_size": c.sample_size,
        "in_channels": c.in_channels,
        "out_channels": c.out_channels,
        "block_out_channels": tuple(int(multiple * c.model_channels) for multiple in c.channel_mult),
        "layers_per_block": c.num_res_blocks,
        "down_block_types": tuple("AttnDownBlock2D" if a else plain[0] for a in attends),
        "up_block_types": tuple("AttnUpBlock2D" if a else plain[1] for a in reversed(attends)),
        "downsample_type": "resnet" if c.resblock_updown else "conv",
        "upsample_type": "resnet" if c.resblock_updown else "conv",
        "resnet_time_scale_shift": "scale_shift" if c.use_scale_shift_norm else "default",
        "attention_head_dim": head_channels.pop(),
        "num_class_embeds": c.num_classes,
        "norm_num_groups": 32,
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
    }


def _renamed(network: GuidedUNet) -> Iterator[tuple[str, Tensor]]:
    for old, new in _OUTSIDE_BLOCKS.items():
        if old != "label_emb" or network.config.num_classes is not None:
            yield from _tensors(network.get_submodule(old), new)
    for block, place in _places(network):
        if isinstance(block, ResBlock):
            for old, new in _RES_BLOCK.items():
                yield from _tensors(block.get_submodule(old), f"{place}.{new}")
        elif isinstance(block, AttentionBlock):
            yield from _attention(block, place)
        else:
            yield from _tensors(next(block.children()), f"{place}.conv")


def _tensors(module: nn.Module, name: str) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in module.state_dict().items():
        yield f"{name}.{key}", tensor


def _places(network: GuidedUNet) -> Iterator[tuple[nn.Module, str]]:
    """Yield every block with its name in diffusers."""
    depth = network.config.num_res_blocks + 1
    for number, block in enumerate(network.input_blocks[1:]):
        layers = list(block.children())
        level, place = divmod(number, depth)
        if place == depth - 1:
            yield layers[0], f"down_blocks.{level}.downsamplers.0"
        else:
            kinds = ("resnets", "attentions")[: len(layers)]
            yield from zip(layers, (f"down_blocks.{level}.{kind}.{place}" for kind in kinds), strict=True)
    middle = ("resnets.0", "attentions.0", "resnets.1")
    yield from zip(network.middle_block, (f"mid_block.{name}" for name in middle), strict=True)
    for number, block in enumerate(network.output_blocks):
        level, place = divmod(number, depth)
        first, *rest = block.children()
        yield first, f"up_blocks.{level}.resnets.{place}"
        for layer in rest:
            attention = isinstance(layer, AttentionBlock)
            yield layer, f"up_blocks.{level}." + (f"attentions.{place}" if attention else "upsamplers.0")


def _attention(block: AttentionBlock, place: str) -> Iterator[tuple[str, Tensor]]:
    yield from _tensors(block.norm, f"{place}.group_norm")
    for kind, tensor in block.qkv.state_dict().items():
        tensor = tensor.flatten(1) if kind == "weight" else tensor
        shape = (block.heads, 3, -1) if block.legacy else (3, block.heads, -1)
        split = tensor.reshape(*shape, *tensor.shape[1:])
        split = split.transpose(0, 1) if block.legacy else split
        for name, part in zip(("to_q", "to_k", "to_v"), split, strict=True):
            yield f"{place}.{name}.{kind}", part.reshape(-1, *tensor.shape[1:]).contiguous()
    for kind, tensor in block.proj_out.state_dict().items():
        yield f"{place}.to_out.0.{kind}", (tensor.flatten(1) if kind == "weight" else tensor).contiguous()
