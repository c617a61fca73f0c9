"""The region that was restored, as a mask for whoever gets the picture: white where it is synthetic, over the picture as stored.

The mask carries the picture's orientation tag, so that it lies on the picture both for who reads the tag and for who does not.
"""

import io
import json

import numpy as np
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.images.codec import read_reduced
from repaint_batch.images.masks import read_keep_masks

_ORIENTATION = 0x0112
_LEAST_PX = 1  # of the picture nothing but size and orientation is looked at


def region(output: bytes, mask: bytes, config: ImagesConfig) -> tuple[bytes, bytes]:
    """Return what was restored in a picture as a mask, and a line of JSON about it.

    Args:
        output: the restored picture, encoded.
        mask: the mask that it was restored by, encoded.
        config: the job's: what marks a hole.

    Returns:
        A grey PNG, or of several pages a TIFF of as many, 255 = restored; and ``format`` and ``hole_fraction``.

    Raises:
        ImageInvalid, MaskInvalid: one of them cannot be read, or they do not fit.
    """
    allowing = config.model_copy(update={"max_bytes": max(config.max_bytes, len(output))})
    extents = [extent for _, extent in read_reduced(output, allowing, _LEAST_PX)]
    holes = [~keep for keep in read_keep_masks(mask, extents, config)]
    fraction = sum(int(hole.sum()) for hole in holes) / sum(hole.size for hole in holes)
    facts = {"format": "PNG" if len(holes) == 1 else "TIFF", "hole_fraction": fraction}
    drawn = [hole.astype(np.uint8) * np.uint8(255) for hole in holes]
    orientation = extents[0].orientation
    return (_png(drawn[0], orientation) if len(drawn) == 1 else _tiff(drawn, orientation)), json.dumps(facts).encode()


def _png(hole: np.ndarray, orientation: int) -> bytes:
    buffer, options = io.BytesIO(), {}
    if orientation != 1:
        options["exif"] = Image.Exif()
        options["exif"][_ORIENTATION] = orientation
    Image.fromarray(hole).save(buffer, "PNG", **options)
    return buffer.getvalue()


def _tiff(holes: list[np.ndarray], orientation: int) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tags = [(_ORIENTATION, 3, 1, orientation, True)]
    with tifffile.TiffWriter(buffer) as file:
        for hole in holes:
            file.write(hole, photometric="minisblack", compression="deflate", metadata=None, extratags=tags)
    return buffer.getvalue()
