"""The detector's network: a small U-Net of plain convolutions, 0.3 M parameters, about 10,000 multiplications a pixel.

Pixels go in as blocks of 2×2 and come out so: every layer works at half resolution or below, and nothing is lost at the top.

    1/2: 24 channels -> 1/4: 48 -> 1/8: 80, dilated, sees about 170 px -> 1/4 -> 1/2 -> (B, 2, H, W) logits

While it learns, a batch normalisation follows every convolution; `folded` puts it into the convolution's weights.
"""

from importlib import resources

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

CHANNELS = (24, 48, 80)
MULTIPLE = 8
"""Heights and widths that it takes are multiples of this."""
REACH_PX = 96
"""Pixels beyond which nothing changes an answer, on each side."""


class _Layer(nn.Module):
    """A 3×3 convolution, its normalisation while it learns, and a ramp."""

    def __init__(self, inward: int, outward: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inward, outward, 3, stride, dilation, dilation)
        self.norm: nn.Module = nn.BatchNorm2d(outward)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x)))

    def fold(self) -> None:
        """Put the normalisation into the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.convolution = fuse_conv_bn_eval(self.convolution, self.norm)
            self.norm = nn.Identity()


class Detector(nn.Module):
    """Returns logits of damage, (B, 2, H, W), of pictures (B, 3, H, W) in [-1, 1]; see `synthetic.KINDS`."""

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse = CHANNELS
        self.down1 = nn.Sequential(_Layer(12, fine), _Layer(fine, fine))
        self.down2 = nn.Sequential(_Layer(fine, middle, 2), _Layer(middle, middle))
        self.entry = _Layer(middle, coarse, 2)
        self.context = nn.ModuleList([_Layer(coarse, coarse, 1, dilation) for dilation in (1, 2, 4, 1)])
        self.to_middle = nn.Conv2d(coarse, middle, 1)
        self.up2 = _Layer(middle, middle)
        self.to_fine = nn.Conv2d(middle, fine, 1)
        self.up1 = _Layer(fine, fine)
        self.head = nn.Conv2d(fine, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.down1(F.pixel_unshuffle(x, 2))
        x2 = self.down2(x1)
        x3 = self.entry(x2)
        for layer in self.context:
            x3 = x3 + layer(x3)
        x2 = self.up2(x2 + _doubled(self.to_middle(x3)))
        x1 = self.up1(x1 + _doubled(self.to_fine(x2)))
        return F.pixel_shuffle(self.head(x1), 2)

    def folded(self) -> "Detector":
        """Return this network, in evaluation, without normalisations; changes it."""
        self.eval()
        for module in self.modules():
            if isinstance(module, _Layer):
                module.fold()
        return self


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def to_bytes(network: Detector) -> bytes:
    """Return a folded network as float16 safetensors."""
    return bytes(save({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}))


def from_bytes(data: bytes) -> Detector:
    """Return the folded network of float16 safetensors, in float32."""
    network = Detector().folded()
    network.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def bundled() -> bytes:
    """Return the weights that ship."""
    return resources.files("repaint_batch").joinpath("assets/detector/weights.safetensors").read_bytes()
