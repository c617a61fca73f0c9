"""Pictures and masks as people hold them in Python, to the tensors of this package and back.

=================  ==================================  ==============================================
given as           picture                             mask
=================  ==================================  ==============================================
``PIL.Image``      any mode                            any mode; its grey value counts
numpy array        (H, W), (H, W, C), (N, H, W, C);    (H, W), (N, H, W), (N, H, W, 1); bool, uint8
                   uint8, or float in [0, 1]           or float in [0, 1]
torch tensor       (C, H, W), (N, C, H, W); uint8, or  (H, W), (N, H, W), (N, 1, H, W); bool, uint8
                   float in [-1, 1]                    or float in [0, 1]
list of these      a batch of pictures of one size     one mask a picture
=================  ==================================  ==============================================
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repaint_batch.errors import ImageInvalid, MaskInvalid

_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def to_known(image: Any, channels: int) -> Tensor:
    """Return pictures as (N, C, H, W) float32 in [-1, 1].

    Raises:
        ImageInvalid: not a picture, several of different sizes, or values out of range.
    """
    pictures = [_picture(one, channels) for one in _listed(image)]
    sizes = {tuple(picture.shape[2:]) for picture in pictures}
    if len(sizes) != 1:
        raise ImageInvalid(f"a batch holds pictures of one size, got (H, W) = {sorted(sizes)}; call once for each size")
    known = torch.cat(pictures)
    if known.shape[1] != channels:
        raise ImageInvalid(f"pictures have {known.shape[1]} channels, the network takes {channels}")
    if not bool((known.abs() <= 1.001).all()):
        raise ImageInvalid("pixel values are out of range: uint8, float arrays in [0, 1] and float tensors in [-1, 1] go")
    return known.clamp(-1, 1)


def to_keep_mask(mask: Any, known: Tensor) -> Tensor:
    """Return masks as (N, 1, H, W) bool, True = known pixel, given ones whose light pixels are known.

    Args:
        mask: one for each picture, or one for all; a value of half or more is light.
        known: (N, C, H, W), the pictures.

    Raises:
        MaskInvalid: of another size or number than the pictures, all known, or all hole.
    """
    keep = torch.cat([_mask(one) for one in _listed(mask)])
    count, _, height, width = known.shape
    if keep.shape[2:] != (height, width):
        raise MaskInvalid(f"the mask is {keep.shape[3]}×{keep.shape[2]} px and its picture {width}×{height}; resize it")
    if len(keep) not in (1, count):
        raise MaskInvalid(f"{len(keep)} masks for {count} pictures; give one for each, or one for all")
    for number, one in enumerate(keep):
        if bool(one.all()) or not bool(one.any()):
            what, colour = ("marks no hole", "light") if bool(one.all()) else ("leaves no known pixel", "dark")
            raise MaskInvalid(f"mask {number} {what}: it is {colour} everywhere; dark pixels are the ones to restore")
    return keep.expand(count, -1, -1, -1).clone()


def _listed(given: Any) -> Sequence[Any]:
    listed = list(given) if isinstance(given, list | tuple) else [given]
    if not listed:
        raise ImageInvalid("an empty list holds no picture")
    return listed


def _picture(image: Any, channels: int) -> Tensor:
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert(_PIL_MODES[channels]))
    if isinstance(image, np.ndarray):
        array = image[..., None] if image.ndim == 2 else image
        tensor = torch.from_numpy(np.array(array))
        tensor = tensor if tensor.dtype == torch.uint8 else tensor.to(torch.float32) * 2 - 1
        tensor = tensor.movedim(-1, -3)
    elif isinstance(image, Tensor):
        tensor = image
    else:
        raise ImageInvalid(f"a picture is a PIL image, an array or a tensor, not {type(image).__name__}")
    tensor = tensor[None] if tensor.ndim == 3 else tensor
    if tensor.ndim != 4 or not tensor.numel():
        raise ImageInvalid(f"a picture of shape {tuple(image.shape)} is neither one picture nor a batch")
    if tensor.dtype == torch.uint8:
        return tensor.to(torch.float32) / 127.5 - 1
    return tensor.to(torch.float32)


def _mask(mask: Any) -> Tensor:
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask.convert("L"))
    if isinstance(mask, np.ndarray):
        mask = mask[..., 0] if mask.ndim == 4 and mask.shape[-1] == 1 else mask
        mask = torch.from_numpy(np.array(mask))
    if not isinstance(mask, Tensor):
        raise MaskInvalid(f"a mask is a PIL image, an array or a tensor, not {type(mask).__name__}")
    tensor = mask[:, 0] if mask.ndim == 4 and mask.shape[1] == 1 else mask
    tensor = tensor[None] if tensor.ndim == 2 else tensor
    if tensor.ndim != 3 or not tensor.numel():
        raise MaskInvalid(f"a mask of shape {tuple(mask.shape)} is neither one mask nor a batch of them")
    if tensor.dtype == torch.bool:
        return tensor[:, None]
    half = 128 if tensor.dtype == torch.uint8 else 0.5
    return (tensor >= half)[:, None]


def from_restored(restored: Tensor, output_type: str) -> Any:
    """Return pictures (N, C, H, W) in [-1, 1] as ``pil``, or in [0, 1] as ``np`` (N, H, W, C) or ``pt`` (N, C, H, W)."""
    unit = (restored / 2 + 0.5).clamp(0, 1)
    if output_type == "pt":
        return unit
    arrays = unit.cpu().movedim(1, -1).numpy()
    if output_type == "np":
        return arrays
    pixels = np.rint(arrays * 255).astype(np.uint8)
    return [Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one) for one in pixels]
