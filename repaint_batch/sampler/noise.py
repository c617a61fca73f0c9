"""Keyed Gaussian noise: the same for a sample in any batch, order, process and device.

Each sample has a 64-bit key made from (seed, sample_id, window). Draw d of element e is a pure function of (key, d, e):
Philox4x32-10 on the counter (e // 4, d, 0, 0) gives four uniforms, Box-Muller two pairs of normals. No state is kept, so a
chain can be picked up anywhere.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox); Box and Muller 1958.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def sample_key(seed: int, sample_id: str, window: int = 0) -> int:
    """Return the 64-bit key of one window of one sample."""
    digest = hashlib.blake2b(f"{seed}\0{sample_id}\0{window}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def candidate_seed(seed: int, candidate: int) -> int:
    """Return the seed of a sample's k-th restoration, k from 0: `seed` and those that follow it, below 2^63."""
    return seed if candidate == 0 else (seed + candidate) % 2**63


def first_seeds(kept: int, candidates: int) -> list[int]:
    """Return the seeds, at or above 0, from which `candidate_seed` may have come to the one that was kept."""
    return [kept, *((kept - candidate) % 2**63 for candidate in range(1, candidates))]


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


def key_words(keys: Sequence[int]) -> Tensor:
    """Return 64-bit keys as (B, 2) int64, low and high word of each."""
    return torch.tensor([[key & _MASK, key >> 32 & _MASK] for key in keys], dtype=torch.int64)


def keyed_normal(keys: Tensor, draws: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal noise.

    Words are the same everywhere. Logarithm, sine and cosine round differently on another device or under
    `torch.compile`, by up to 1e-6: a job must use one or the other throughout.

    Args:
        keys: (B, 2) int64, see `key_words`.
        draws: (B,) int64, number of each sample's draw.
        shape: (C, H, W).

    Returns:
        (B, C, H, W) float32 on the device of `keys`.
    """
    size = math.prod(shape)
    blocks = -(-size // 4)
    block = torch.arange(blocks, device=keys.device)[None]
    zero = torch.zeros_like(block)
    words = philox4x32((block, draws[:, None], zero, zero), (keys[:, 0, None], keys[:, 1, None]))
    # 24 bits are what a float32 holds exactly; the half keeps the logarithm's argument off zero.
    u = [((word >> 8).to(torch.float32) + 0.5) * 2.0**-24 for word in words]
    pairs = []
    for u_radius, u_angle in ((u[0], u[1]), (u[2], u[3])):
        radius = torch.sqrt(-2 * torch.log(u_radius))
        pairs += [radius * torch.cos(2 * math.pi * u_angle), radius * torch.sin(2 * math.pi * u_angle)]
    normal = torch.stack(pairs, dim=-1).reshape(len(keys), -1)
    return normal[:, :size].reshape(len(keys), *shape)
