"""What a user would pick instead: fillers that know nothing but the picture itself.

They come with the ``test`` extra; `repaint_batch` itself never needs them.
"""

from collections.abc import Callable, Mapping

import numpy as np

from repaint_batch.errors import ConfigError

Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From a picture (H, W, 3) uint8 and its hole (H, W) bool to the picture with its hole filled."""
_RADIUS_PX = 3


def telea(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return what OpenCV's fast marching makes of it.

    Source: Telea, "An image inpainting technique based on the fast marching method", 2004.
    """
    import cv2

    filled: np.ndarray = cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), _RADIUS_PX, cv2.INPAINT_TELEA)
    return filled


def navier_stokes(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return what OpenCV's fluid dynamics make of it.

    Source: Bertalmio, Bertozzi and Sapiro, "Navier-Stokes, fluid dynamics, and image and video inpainting", CVPR 2001.
    """
    import cv2

    filled: np.ndarray = cv2.inpaint(np.ascontiguousarray(picture), hole.astype(np.uint8), _RADIUS_PX, cv2.INPAINT_NS)
    return filled


def biharmonic(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Return scikit-image's smoothest filling: the bilaplacian is 0 in the hole.

    Source: Damelin and Hoang, "On surface completion and image inpainting by biharmonic functions", 2018.
    """
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(picture / 255, hole, split_into_regions=True, channel_axis=-1)
    return np.where(hole[..., None], np.rint(np.clip(filled, 0, 1) * 255), picture).astype(np.uint8)


RIVALS: Mapping[str, Filler] = {"telea": telea, "navier-stokes": navier_stokes, "biharmonic": biharmonic}


def checked(names: tuple[str, ...]) -> Mapping[str, Filler]:
    """Return rivals by name.

    Raises:
        ConfigError: one is not known, or what it takes is not installed.
    """
    for name in names:
        if name not in RIVALS:
            raise ConfigError(f"--rival {name}: not one of {', '.join(RIVALS)}")
    picture, hole = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool)
    hole[3:5, 3:5] = True
    try:
        for name in names:
            RIVALS[name](picture, hole)
    except ImportError as error:
        raise ConfigError(f'--rival {name}: {error.name} is not installed; pip install -e ".[test]" brings it') from error
    return {name: RIVALS[name] for name in names}
