"""Pictures with a torn corner, which is found in closed form."""

import numpy as np

from ..corpus import encoded

SIDE_PX = 64


def torn(number: int, is_torn: bool = True) -> bytes:
    """Return an encoded picture of middling shades, its corner torn off or not."""
    rng = np.random.default_rng(number)
    pixels = np.clip(110 + rng.normal(0, 12, (SIDE_PX, SIDE_PX, 3)), 40, 190).astype(np.uint8)
    if is_torn:
        rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
        pixels[rows + columns < 18] = 250
    return encoded(pixels)
