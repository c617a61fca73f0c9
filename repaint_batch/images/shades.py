"""Windows as they travel between the stages of a job: bytes where that loses nothing, float16 where not.

What is restored elsewhere sees the same numbers, so that it comes out the same.
"""

import numpy as np

SHADES = np.arange(256, dtype=np.float32) * np.float32(2 / 255) - 1
"""Pixels of pictures of 8 bits, as they are read."""


def shades_of(pixels: np.ndarray, keep_mask: np.ndarray) -> np.ndarray | None:
    """Return a window as bytes if each of its known pixels is one of 256 shades; None if not.

    Args:
        pixels: (R, R, 3) float32 in [-1, 1].
        keep_mask: (R, R) bool, True = known pixel.
    """
    shades = np.clip(np.rint((pixels + 1) * 127.5), 0, 255).astype(np.uint8)
    return shades if bool((SHADES[shades] == pixels)[keep_mask].all()) else None


def travelled(pixels: np.ndarray, keep_mask: np.ndarray) -> np.ndarray:
    """Return a window as it arrives, (R, R, 3) float32."""
    shades = shades_of(pixels, keep_mask)
    arrived: np.ndarray = pixels.astype(np.float16).astype(np.float32) if shades is None else SHADES[shades]
    return arrived
