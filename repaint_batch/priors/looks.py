"""How photographs in archives look: toned, faded, soft, grainy, compressed. Augmentation of training crops, on their device.

Every look is drawn for every crop by itself, in the order in which it happens to a print: toning, fading, blur, grain, JPEG.
A crop keeps its own look in about a fifth of the cases.
"""

import math
from functools import cache

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
_SEPIA = (1.0, 0.86, 0.66)
"""Red, green and blue of a white that has turned brown altogether."""
_BLUR_RADIUS_PX = 3
# ITU-T T.81, annex K, tables K.1 and K.2: steps of quality 50.
_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *[(99,) * 8] * 4,
)  # fmt: skip


def aged(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Return crops as an archive may hold them.

    Args:
        pictures: (B, 3, S, S) float32 in [-1, 1].
        generator: of the same device.

    Returns:
        (B, 3, S, S) float32 in [-1, 1].
    """

    def uniform(low: float, high: float) -> Tensor:
        draw = torch.rand((len(pictures), 1, 1, 1), generator=generator, device=pictures.device)
        return low + (high - low) * draw

    def some(share: float, changed: Tensor, kept: Tensor) -> Tensor:
        return torch.where(uniform(0, 1) < share, changed, kept)

    x = some(0.3, toned(pictures, some(0.5, uniform(0, 1), uniform(0, 0))), pictures)
    contrast = uniform(0.5, 1.0)
    x = some(0.3, contrast * x + (1 - contrast) * uniform(-1, 1), x)
    x = some(0.2, blurred(x, uniform(0.3, 1.0)), x)
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    noise = some(0.6, noise[:, :1].expand_as(noise), noise)
    noise = some(0.5, noise, blurred(noise, uniform(0.4, 0.8)))
    x = some(0.4, x + noise * torch.exp(uniform(math.log(0.01), math.log(0.12))), x)
    offset = torch.randint(8, (2,), generator=generator, device=x.device)
    return some(0.3, compressed(x, uniform(40, 95), offset), x).clamp(-1, 1)


def toned(pictures: Tensor, sepia: Tensor) -> Tensor:
    """Return pictures in black and white, browned by `sepia` (B, 1, 1, 1) from 0 to 1."""
    luma, brown = _constant(_LUMA, pictures.device), _constant(_SEPIA, pictures.device)
    white = 1 - sepia * (1 - brown.view(1, 3, 1, 1))
    grey = (torch.einsum("bchw,c->bhw", pictures, luma)[:, None] + 1) / 2
    return grey * white * 2 - 1


def blurred(pictures: Tensor, std_px: Tensor) -> Tensor:
    """Return pictures under a Gaussian blur of `std_px` (B, 1, 1, 1), at most 1 px."""
    count, channels, height, width = pictures.shape
    at = torch.arange(-_BLUR_RADIUS_PX, _BLUR_RADIUS_PX + 1, device=pictures.device)
    kernel = torch.exp(-(at**2) / (2 * std_px.view(count, 1) ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    rows, columns = kernel[:, None, :, None], kernel[:, None, None, :]
    flat = pictures.reshape(1, count * channels, height, width)
    flat = torch.nn.functional.pad(flat, (_BLUR_RADIUS_PX,) * 4, mode="reflect")
    flat = torch.nn.functional.conv2d(flat, rows, groups=count * channels)
    return torch.nn.functional.conv2d(flat, columns, groups=count * channels).reshape(pictures.shape)


def compressed(pictures: Tensor, quality: Tensor, offset: Tensor) -> Tensor:
    """Return pictures with what JPEG's quantisation does to them: blocks of 8×8 px, colours at full resolution.

    Args:
        pictures: (B, 3, S, S) float32 in [-1, 1].
        quality: (B, 1, 1, 1), 1 .. 99, on libjpeg's scale.
        offset: (2,) int64, 0 .. 7: where the grid of blocks begins, down and to the right.
    """
    device, side = pictures.device, pictures.shape[-1]
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    steps = _constant((_LUMA_STEPS, _CHROMA_STEPS, _CHROMA_STEPS), device)
    steps = (steps * scale).clamp(1, 255)[:, :, None, None]  # (B, 3, 1, 1, 8, 8) in levels
    # Replicated up to whole blocks around the grid's offset.
    at = torch.arange(-8, -(-side // 8) * 8 + 8, device=device)
    down, right = ((at + shift).clamp(0, side - 1) for shift in offset)
    padded = _to_ycc(pictures)[:, :, down][:, :, :, right]
    count, channels, height, width = padded.shape
    blocks = padded.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)  # (B, 3, rows, columns, 8, 8)
    dct = _dct8(device)
    levels = dct @ (blocks * 127.5) @ dct.T
    levels = torch.round(levels / steps) * steps
    restored = (dct.T @ levels @ dct / 127.5).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    back_down, back_right = (torch.arange(side, device=device) + 8 - shift for shift in offset)
    return _to_rgb(restored[:, :, back_down][:, :, :, back_right])


@cache
def _constant(values: tuple[object, ...], device: torch.device) -> Tensor:
    """Return numbers on a device, which would be waited for if they were sent there for every batch."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@cache
def _dct8(device: torch.device) -> Tensor:
    k, n = torch.meshgrid(torch.arange(8, device=device), torch.arange(8, device=device), indexing="ij")
    basis = torch.cos(math.pi / 8 * (n + 0.5) * k) / 2
    basis[0] /= math.sqrt(2)
    return basis


@cache
def _ycc_matrices(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrix from red, green, blue to YCbCr, and its inverse."""
    red, green, blue = _LUMA
    cb = [-red / (2 - 2 * blue), -green / (2 - 2 * blue), 0.5]
    cr = [0.5, -green / (2 - 2 * red), -blue / (2 - 2 * red)]
    matrix = torch.tensor([[red, green, blue], cb, cr])
    return matrix.to(device), torch.linalg.inv(matrix).to(device)


def _to_ycc(rgb: Tensor) -> Tensor:
    return torch.einsum("yc,bchw->byhw", _ycc_matrices(rgb.device)[0], rgb)


def _to_rgb(ycc: Tensor) -> Tensor:
    return torch.einsum("cy,byhw->bchw", _ycc_matrices(ycc.device)[1], ycc)
