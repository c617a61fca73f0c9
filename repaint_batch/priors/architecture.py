"""The architecture of a guided-diffusion checkpoint, read off its names and shapes.

Every setting of `GuidedUNet` and `GuidedClassifier` shows in the weights, except the channels of a head, the order of
attention and, for a UNet, the side of the pictures. For the layouts of the published 256 px and 512 px networks these
are known (heads of 64 channels, legacy order); for any other the checkpoint's card must say them, since a wrong guess
would load and quietly predict nonsense.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import PositiveInt

from repaint_batch.config import Model
from repaint_batch.errors import PriorError
from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet

Shapes = Mapping[str, Sequence[int]]
GuidedNetwork = GuidedUNet | GuidedClassifier

PUBLISHED_SIZES = {(1, 1, 2, 2, 4, 4): 256, (0.5, 1, 1, 2, 2, 4, 4): 512}
"""channel_mult of the published networks whose heads have 64 channels in legacy order, and their side in pixels."""
PUBLISHED_HEAD_CHANNELS = 64


class GuidedCard(Model):
    """What a checkpoint's card may say, in guided-diffusion's own words; it must agree with the weights."""

    image_size: PositiveInt | None = None
    """Side of the pictures."""
    num_heads: PositiveInt | None = None
    """Heads of each attention, where num_head_channels is absent or -1."""
    num_head_channels: int | None = None
    """Channels of a head."""
    use_new_attention_order: bool | None = None
    """Whether qkv is split into q, k, v before heads."""
    diffusion_steps: PositiveInt = 1000
    noise_schedule: Literal["linear", "cosine"] = "linear"
    predict_xstart: bool = False
    """The network says x_0 and not eps."""
    sigma_small: bool = False
    """An unlearned variance is that of the posterior and not beta."""
    learn_sigma: bool | None = None
    class_cond: bool | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    model_channels: int | None = None
    channel_mult: tuple[float, ...] | None = None
    num_res_blocks: int | None = None
    attention_resolutions: tuple[int, ...] | None = None
    """Factors of downsampling, as the network is told them."""
    num_classes: int | None = None
    use_scale_shift_norm: bool | None = None
    resblock_updown: bool | None = None
    pool: Literal["attention"] | None = None
    """Head of a classifier; others are not known here."""


def is_guided_diffusion(names: Iterable[str]) -> bool:
    """Return whether the names of a state dict are those of guided-diffusion."""
    return not {"input_blocks.0.0.weight", "time_embed.0.weight"}.isdisjoint(names)


def build_network(shapes: Shapes, card: GuidedCard, where: str) -> GuidedNetwork:
    """Return a network on the meta device with exactly the names and shapes given.

    Args:
        shapes: shape of every tensor of the state dict, by name.
        card: what the weights do not tell.
        where: the checkpoint, for errors.

    Raises:
        PriorError: names are missing or too many, or the card contradicts the weights or leaves something open.
    """
    candidates = []
    for levels, num_res_blocks in _depths(shapes, card, where):
        settings = _settings_shown(shapes, levels, num_res_blocks, where)
        candidates.append((_differences(_on_meta(shapes, settings), shapes), settings))
    fitting = [settings for differences, settings in candidates if not differences]
    if len(fitting) > 1:
        raise PriorError(f"{where}: its shapes fit {len(fitting)} architectures; set num_res_blocks in its card")
    if not fitting:
        nearest = min((differences for differences, _ in candidates), key=len)
        raise PriorError(f"{where}: {len(nearest)} names do not fit the network: {'; '.join(nearest[:4])}")
    network = _on_meta(shapes, fitting[0] | _settings_hidden(fitting[0], card, where))
    _refuse_contradiction(network, card, where)
    return network


def _on_meta(shapes: Shapes, settings: dict[str, Any]) -> GuidedNetwork:
    with torch.device("meta"):
        network: GuidedNetwork = (GuidedClassifier if _is_classifier(shapes) else GuidedUNet)(**settings)
    return network


def _is_classifier(shapes: Shapes) -> bool:
    return not any(name.startswith("output_blocks.") for name in shapes)


def _shape(shapes: Shapes, name: str, where: str) -> Sequence[int]:
    if name not in shapes:
        raise PriorError(f"{where}: missing key {name}; is this a whole guided-diffusion state dict?")
    return shapes[name]


def _depths(shapes: Shapes, card: GuidedCard, where: str) -> list[tuple[int, int]]:
    """Return every (levels, num_res_blocks) that the number of blocks allows."""
    numbers = [int(match[1]) for name in shapes if (match := re.match(r"input_blocks\.(\d+)\.", name))]
    blocks = 1 + max(numbers, default=0)
    strided = sum(bool(re.fullmatch(r"input_blocks\.\d+\.0\.op\.weight", name)) for name in shapes)
    doubled = r"output_blocks\.\d+\.[12]\.(conv\.weight|in_layers\.0\.weight)"
    upward = sum(bool(re.fullmatch(doubled, name)) for name in shapes)
    counted = strided or not _is_classifier(shapes)
    possible = [1 + max(strided, upward)] if counted else list(range(1, blocks // 2 + 1))
    # Each level has its residual blocks and one more, the first convolution or the step from the level above.
    depths = [(levels, blocks // levels - 1) for levels in possible if blocks % levels == 0 and blocks > levels]
    depths = [(levels, n) for levels, n in depths if card.num_res_blocks in (None, n)] or depths
    if not depths:
        raise PriorError(f"{where}: {blocks} input blocks on {possible[0]} levels: names of input_blocks are missing")
    return depths


def _settings_shown(shapes: Shapes, levels: int, num_res_blocks: int, where: str) -> dict[str, Any]:
    """Return the settings that show in the weights; heads and, for a UNet, the side of pictures are placeholders."""
    width = _shape(shapes, "time_embed.0.weight", where)[1]
    first = [1 + level * (num_res_blocks + 1) for level in range(levels)]
    widths = [_shape(shapes, f"input_blocks.{block}.0.out_layers.3.weight", where)[0] for block in first]
    told = _shape(shapes, "input_blocks.1.0.emb_layers.1.weight", where)[0]
    attends = [
        2**level
        for level, block in enumerate(first)
        if any(f"input_blocks.{block + number}.1.qkv.weight" in shapes for number in range(num_res_blocks))
    ]
    settings: dict[str, Any] = {
        "sample_size": 0,
        "in_channels": _shape(shapes, "input_blocks.0.0.weight", where)[1],
        "model_channels": width,
        "channel_mult": tuple(w // width if w % width == 0 else w / width for w in widths),
        "num_res_blocks": num_res_blocks,
        "attention_resolutions": tuple(attends),
        "num_head_channels": 1,
        "use_scale_shift_norm": told == 2 * widths[0],
        "resblock_updown": levels > 1 and not any(name.endswith(".0.op.weight") for name in shapes),
    }
    if not _is_classifier(shapes):
        classes = shapes["label_emb.weight"][0] if "label_emb.weight" in shapes else None
        return settings | {"out_channels": _shape(shapes, "out.2.weight", where)[0], "num_classes": classes}
    if "out.2.positional_embedding" not in shapes:
        raise PriorError(f"{where}: a classifier without attention pooling (out.2.positional_embedding)")
    side_px = round((shapes["out.2.positional_embedding"][1] - 1) ** 0.5) * 2 ** (levels - 1)
    return settings | {"out_channels": _shape(shapes, "out.2.c_proj.weight", where)[0], "sample_size": side_px}


def _settings_hidden(shown: dict[str, Any], card: GuidedCard, where: str) -> dict[str, Any]:
    """Return the settings that do not show: from the card, or as in the published networks."""
    published = PUBLISHED_SIZES.get(shown["channel_mult"])
    size = shown["sample_size"] or card.image_size or published
    channels = card.num_head_channels if card.num_head_channels and card.num_head_channels > 0 else None
    # guided-diffusion never offered a choice for its classifiers.
    if shown["sample_size"] or (channels is None and card.num_heads is None and published):
        channels = channels or PUBLISHED_HEAD_CHANNELS
    if size is None or (channels is None and card.num_heads is None):
        raise PriorError(
            f"{where}: channel_mult {shown['channel_mult']} is not a published layout, and weights do not determine image_size, "
            "num_head_channels or num_heads, and use_new_attention_order; give them in a .json card beside it"
        )
    widths = [int(multiple * shown["model_channels"]) for multiple in shown["channel_mult"]]
    attended = {widths[-1], *(w for level, w in enumerate(widths) if 2**level in shown["attention_resolutions"])}
    wrong = [width for width in attended if width % (channels or card.num_heads or 1)]
    if wrong:
        raise PriorError(f"{where}: {wrong[0]} channels cannot be split into heads of {channels or 'equal'} channels")
    order = bool(card.use_new_attention_order)
    hidden = {"sample_size": size, "num_head_channels": channels, "use_new_attention_order": order}
    return hidden | ({"num_heads": card.num_heads} if card.num_heads else {})


def _differences(network: GuidedNetwork, shapes: Shapes) -> list[str]:
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    theirs = {name: list(shape) for name, shape in shapes.items()}
    missing = [f"missing {name}" for name in ours if name not in theirs]
    extra = [f"unexpected {name}" for name in theirs if name not in ours]
    both = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    return missing + extra + [f"{name} is {theirs[name]}, not {ours[name]}" for name in both]


def _refuse_contradiction(network: GuidedNetwork, card: GuidedCard, where: str) -> None:
    config = network.config
    told = {
        "image_size": config.sample_size,
        "class_cond": config.get("num_classes") is not None,
        "learn_sigma": config.out_channels == 2 * config.in_channels,
    }
    for key, value in card.model_dump(exclude_none=True, exclude_defaults=True).items():
        actual = told[key] if key in told else config.get(key, value)
        if key in ("num_heads", "num_head_channels"):
            continue
        if isinstance(value, tuple):
            value, actual = list(value), list(actual)
        if value != actual:
            raise PriorError(f"{where}: its card says {key} = {value}, its weights {actual}")
