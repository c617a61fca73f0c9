"""Keyed Gaussian noise: the same for a sample in any batch, order, process and device.

Each sample has a 64-bit key made from (seed, sample_id, window). Draw d of element e is a pure function of (key, d, e):
Philox4x32-10 on the counter (e // 4, d, 0, 0) gives four uniforms, Box-Muller two pairs of normals. No state is kept, so a
chain can be picked up anywhere.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox); Box and Muller 1958.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Role(Enum):
    """What a draw is for.

    A keyed source may answer KNOWN and REVERSE of one position alike: the sampler uses the first on known pixels only and
    the second on the hole only.
    """

    INITIAL = "initial"
    KNOWN = "known"
    REVERSE = "reverse"
    UNDO = "undo"


class Noise(Protocol):
    """Where a sampler's randomness comes from."""

    def __call__(self, position: int, role: Role) -> Tensor:
        """Return (B, C, H, W) float32 standard normal noise for the step at `position` of the path (-1: the start)."""


def sample_key(seed: int, sample_id: str, window: int = 0) -> int:
    """Return the 64-bit key of one window of one sample."""
    digest = hashlib.blake2b(f"{seed}\0{sample_id}\0{window}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def candidate_seed(seed: int, candidate: int) -> int:
    """Return the seed of a sample's k-th restoration, k from 0: `seed` and those that follow it, below 2^63."""
    return seed if candidate == 0 else (seed + candidate) % 2**63


def philox4x32(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return four words of Philox4x32-10.

    Args:
        counter: four int64 tensors that hold 32-bit words, broadcastable to one shape.
        key: two such tensors.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2^64; masks after the shift make both halves right nevertheless.
        product_0, product_1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product_1 >> 32) & _MASK) ^ c1 ^ k0,
            product_1 & _MASK,
            ((product_0 >> 32) & _MASK) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def philox_normal(key_words: Tensor, draw: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal noise.

    Words are the same everywhere. Logarithm, sine and cosine round differently on another device or under
    `torch.compile`, by up to 1e-6: a job must use one or the other throughout.

    Args:
        key_words: (B, 2) int64, low and high word of each sample's key.
        draw: () int64, number of the draw.
        shape: (C, H, W).

    Returns:
        (B, C, H, W) float32 on the device of `key_words`.
    """
    size = math.prod(shape)
    blocks = -(-size // 4)
    block = torch.arange(blocks, device=key_words.device)[None]
    zero = torch.zeros_like(block)
    key = (key_words[:, 0, None], key_words[:, 1, None])
    words = philox4x32((block, draw.expand_as(block), zero, zero), key)
    # 24 bits are what a float32 holds exactly; the half keeps the logarithm's argument off zero.
    u = [((word >> 8).to(torch.float32) + 0.5) * 2.0**-24 for word in words]
    pairs = []
    for u_radius, u_angle in ((u[0], u[1]), (u[2], u[3])):
        radius = torch.sqrt(-2 * torch.log(u_radius))
        pairs += [radius * torch.cos(2 * math.pi * u_angle), radius * torch.sin(2 * math.pi * u_angle)]
    normal = torch.stack(pairs, dim=-1).reshape(len(key_words), -1)
    return normal[:, :size].reshape(len(key_words), *shape)


@cache
def _compiled_normal() -> Callable[[Tensor, Tensor, Sequence[int]], Tensor]:
    # Its 150 small operations become one: a fifteenth of the time on a CPU, one launch on a GPU.
    return torch.compile(philox_normal, dynamic=False)


class KeyedNoise:
    """Noise of a batch of samples, each with a key of its own.

    Args:
        keys: one 64-bit key a sample, see `sample_key`.
        shape: (C, H, W).
        device: where the noise is wanted.
        compiled: make it in compiled code, which rounds differently.
    """

    def __init__(
        self, keys: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu", *, compiled: bool = False
    ) -> None:
        words = [[key & _MASK, key >> 32 & _MASK] for key in keys]
        self._key_words = torch.tensor(words, dtype=torch.int64, device=device)
        self._shape = tuple(shape)
        self._normal = _compiled_normal() if compiled else philox_normal
        self._last: tuple[int, Tensor] | None = None

    def __call__(self, position: int, role: Role) -> Tensor:
        """Return (B, C, H, W) float32; KNOWN and REVERSE of one position are the same draw, see `Role`."""
        draw = position + 1
        if self._last is None or self._last[0] != draw:
            index = torch.full((), draw, dtype=torch.int64, device=self._key_words.device)
            self._last = (draw, self._normal(self._key_words, index, self._shape))
        return self._last[1]
