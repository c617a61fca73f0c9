"""One picture, one mask, one line."""

import io
import warnings
from functools import lru_cache
from typing import TypeVar
from weakref import WeakSet

import numpy as np
import torch
from PIL import Image

from repaint_batch.config import ComputeConfig, ImagesConfig, PriorConfig, parse_config
from repaint_batch.errors import ImageInvalid, MaskInvalid
from repaint_batch.images.restoration import Prepared, compose, prepare
from repaint_batch.images.windows import leaves
from repaint_batch.inpainting.device import precision_of
from repaint_batch.inpainting.fit import PLACES, fit_of
from repaint_batch.inpainting.pipeline import RePaintPipeline
from repaint_batch.inpainting.restorer import Unrestored, restore_pictures
from repaint_batch.priors.load import load_prior
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS, sampler_named
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.storage import Storage

PictureT = TypeVar("PictureT", Image.Image, np.ndarray)

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_BATCH_WINDOWS = 8
_TRIED: WeakSet[RePaintPipeline] = WeakSet()


def inpaint(
    image: PictureT,
    mask: Image.Image | np.ndarray,
    *,
    prior: str | PriorConfig | RePaintPipeline = "bundled:photo",
    preset: str | Sampler = "fast",
    seed: int = 0,
    hole: str = "white",
) -> PictureT:
    """Return `image` with its hole restored and every other pixel as it was, in the type it came in.

    The picture may have any size: windows of the prior's size are cut around the holes, as a job does it.

    Args:
        image: PIL image, or array (H, W), (H, W, 3) or (H, W, 4), uint8 or float in [0, 1].
        mask: PIL image, or array (H, W) of bool, uint8 or float in [0, 1], as large as the picture.
        prior: where the network is, as in a job's config, or a pipeline that holds one.
        preset: a name in `repaint_batch.sampler.presets.PRESETS`: ``paper``, ``balanced``, ``fast`` and others; or a sampler,
            such as one of your own, see `repaint_batch.sampler.sampler.Sampler`.
        seed: another seed gives another restoration.
        hole: which pixels of the mask to restore: ``white`` (True, 1, 255) or ``black``.

    Raises:
        ImageInvalid, MaskInvalid: the picture or mask cannot be used; PriorError: the prior cannot.

    Example:
        >>> restored = inpaint(Image.open("scratched.png"), Image.open("scratches.png"))
    """
    sampler = sampler_named(preset)
    pipeline = prior if isinstance(prior, RePaintPipeline) else _pipeline(prior)
    config = parse_config({"hole": hole}, ImagesConfig, "inpaint")
    resolution_px = pipeline.prior.resolution_px
    picture, marks = _picture_bytes(image), _mask_bytes(mask)
    prepared = prepare(picture, marks, config, resolution_px)
    if prepared.hole_fraction in (0, 1):
        what = "marks no hole" if prepared.hole_fraction == 0 else "leaves no known pixel"
        raise MaskInvalid(f"the mask {what}; {hole} pixels are the ones to restore")
    _say_if_unfit(pipeline, prepared)
    keys = [sample_key(seed, "", window) for window in range(len(prepared.windows))]
    engine = pipeline.engine(sampler, min(_BATCH_WINDOWS, len(prepared.windows)))
    (restored,) = restore_pictures(engine, [Unrestored.of(prepared, keys)])
    done = compose(picture, marks, restored, config, resolution_px, "source")
    result = Image.open(io.BytesIO(done.data))
    result.load()
    return result if isinstance(image, Image.Image) else _as_array(result, image)


def _say_if_unfit(pipeline: RePaintPipeline, prepared: Prepared) -> None:
    """Warn of a prior that does not know such pictures; once for every prior, where the picture has windows to try it in."""
    if pipeline in _TRIED or len(prepared.plan) < PLACES:
        return
    _TRIED.add(pipeline)
    tried = leaves(prepared.plan)[:PLACES]
    windows, keep_mask = (torch.from_numpy(array[tried]) for array in (prepared.windows, prepared.keep_mask))
    warning = fit_of(pipeline.prior, PRESETS["preview"], windows.permute(0, 3, 1, 2), keep_mask).warning("this prior")
    if warning:
        warnings.warn(warning, stacklevel=3)


@lru_cache(maxsize=2)
def _pipeline(prior: str | PriorConfig) -> RePaintPipeline:
    config = prior if isinstance(prior, PriorConfig) else PriorConfig(source=prior)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RePaintPipeline.from_prior(load_prior(config, Storage(), device=device, precision=precision_of(ComputeConfig())))


def _picture_bytes(image: Image.Image | np.ndarray) -> bytes:
    if isinstance(image, np.ndarray):
        image = _as_image(image, ImageInvalid)
    if not isinstance(image, Image.Image):
        raise ImageInvalid(f"a picture is a PIL image or an array, not {type(image).__name__}")
    data = io.BytesIO()
    image.save(data, "PNG" if image.mode in _PNG_MODES else "TIFF")
    return data.getvalue()


def _mask_bytes(mask: Image.Image | np.ndarray) -> bytes:
    if isinstance(mask, np.ndarray):
        mask = _as_image(mask, MaskInvalid)
    if not isinstance(mask, Image.Image):
        raise MaskInvalid(f"a mask is a PIL image or an array, not {type(mask).__name__}")
    data = io.BytesIO()
    mask.save(data, "PNG")
    return data.getvalue()


def _as_image(array: np.ndarray, error: type[ImageInvalid | MaskInvalid]) -> Image.Image:
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        if not ((array >= 0) & (array <= 1)).all():
            raise error("a float array holds values in [0, 1]")
        array = np.rint(array * 255).astype(np.uint8)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise error(f"an array of shape {array.shape} and type {array.dtype} is no 8-bit or float picture")
    return Image.fromarray(array)


def _as_array(result: Image.Image, image: np.ndarray) -> np.ndarray:
    pixels = np.asarray(result).reshape(image.shape)
    if image.dtype == np.uint8:
        return pixels
    # Eight bits are enough for what is restored, but not for what is kept.
    changed = pixels != np.asarray(_as_image(image, ImageInvalid)).reshape(image.shape)
    return np.where(changed, (pixels / 255).astype(image.dtype), image)
