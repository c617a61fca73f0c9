"""One picture, one mask, one line."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from repaint_batch.config import ComputeConfig, ImagesConfig, PriorConfig, parse_config
from repaint_batch.errors import ConfigError, ImageInvalid, MaskInvalid
from repaint_batch.images.orientation import upright
from repaint_batch.images.restoration import Prepared, compose, prepare
from repaint_batch.images.shades import travelled
from repaint_batch.images.windows import leaves
from repaint_batch.inpainting.device import precision_of
from repaint_batch.inpainting.fit import PLACES, can_be_tried, fit_of
from repaint_batch.inpainting.keywords import hints
from repaint_batch.inpainting.pipeline import RePaintPipeline
from repaint_batch.inpainting.restorer import Restorer, Unrestored, nfe_of, restore_pictures
from repaint_batch.priors.load import Precision, load_prior
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS, sampler_named
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.storage import Storage

_MOST_WINDOWS = 8
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_FRAMES = 5  # from a warning up to whoever calls `inpaint`
_TRIED: WeakSet[RePaintPipeline] = WeakSet()


@hints(
    mask_image="the mask is `mask` here, white where to restore",
    prompt="nothing is prompted here: a prior knows one kind of picture, see `prior`",
    num_inference_steps="`preset` decides the steps here",
    generator="noise follows from `seed` here",
    callback="`progress` draws a bar; RePaintPipeline has callback_on_step_end",
    callback_on_step_end="`progress` draws a bar; RePaintPipeline has callback_on_step_end",
)
def inpaint(
    image: Any,
    mask: Any,
    *,
    prior: str | PriorConfig | RePaintPipeline = "bundled:photo",
    preset: str | Sampler = "fast",
    seed: int | Sequence[int] = 0,
    hole: str | None = None,
    sample_id: str | Sequence[str] = "",
    images: ImagesConfig | Mapping[str, Any] | None = None,
    batch_windows: int | None = None,
    precision: Precision | None = None,
    progress: bool | None = None,
) -> Any:
    """Return `image` with its hole restored and every other pixel as it was, in the type it came in; a list for a list.

    The picture may have any size: windows of the prior's size are cut around the holes, as a job does it. A job's row comes out
    as in its table with the row's ``sample_id`` and ``seed``, and the job's prior, preset, image settings, batch and precision:
    ``inpaint(image, mask, prior=..., preset="fast", sample_id="a.png", seed=0, images={...}, batch_windows=16)``.
    `repaint_batch.replay` finds all of them in the job's record. Of a JPEG it repeats the compression too, which this does not.

    Args:
        image: PIL image, or array (H, W), (H, W, 3) or (H, W, 4), uint8 or float in [0, 1]; or a list of these, of any sizes,
            whose windows share network calls.
        mask: PIL image, or array (H, W) of bool, uint8 or float in [0, 1], as large as the picture; a list for a list. **White is
            what is restored**, unless `hole` says otherwise.
        prior: where the network is, as in a job's config, or a pipeline that holds one.
        preset: a name in `repaint_batch.sampler.presets.PRESETS`: ``paper``, ``balanced``, ``fast`` and others; or a sampler,
            such as one of your own, see `repaint_batch.sampler.sampler.Sampler`.
        seed: another seed gives another restoration; one for all, or one for each picture.
        hole: which pixels of the mask to restore: ``white`` (True, 1, 255), ``black``, or what else a job's images.hole takes.
        sample_id: names the noise beside the seed, as a row's id does in a job; one for each picture. Pictures of a list that are
            given none are called by their place in it from the second on.
        images: a job's settings of pictures and masks, such as ``{"mask_grow_px": 2}``.
        batch_windows: windows in a network call; another number rounds differently. By default as few as it takes, at most 8.
        precision: ``float32`` or ``bfloat16``, as a job's compute.precision; by default bfloat16 on a GPU that has it.
        progress: whether to draw a bar of network evaluations; by default where standard error is a terminal.

    Raises:
        ImageInvalid, MaskInvalid: the picture or mask cannot be used; PriorError: the prior cannot; ConfigError: a setting.

    Example:
        >>> restored = inpaint(Image.open("scratched.png"), Image.open("scratches.png"))
    """
    is_list = isinstance(image, list | tuple)
    pictures, masks = (list(image), list(mask)) if is_list else ([image], [mask])
    given = _given(pictures, masks, seed, sample_id)
    config, sampler = _images(images, hole), sampler_named(preset)
    if precision and isinstance(prior, RePaintPipeline):
        raise ConfigError("precision: a pipeline has its own; load it with dtype=torch.bfloat16")
    pipeline = prior if isinstance(prior, RePaintPipeline) else _pipeline(prior, precision or "auto")
    unrestored = []
    for one in given:
        unrestored.append(_unrestored(one, config, pipeline))
    windows = _restored(pipeline, sampler, unrestored, batch_windows, progress)
    resolution_px = pipeline.prior.resolution_px
    composed = [
        compose(one.picture, one.mask, its_windows, config, resolution_px, "source")
        for one, its_windows in zip(given, windows, strict=True)
    ]
    results = [_as_given(one.data, picture) for one, picture in zip(composed, pictures, strict=True)]
    return results if is_list else results[0]


class _Given(NamedTuple):
    """One encoded picture, its mask, and what names its noise."""

    picture: bytes
    mask: bytes
    seed: int
    sample_id: str


def _given(pictures: list[Any], masks: list[Any], seed: Any, sample_id: str | Sequence[str]) -> list[_Given]:
    """Return what a call restores.

    Raises:
        ImageInvalid, MaskInvalid: something is not a picture or mask, or there are more of one than of the other.
        ConfigError: a seed is not a whole number, or there are not as many seeds and names as pictures.
    """
    if len(pictures) != len(masks):
        raise MaskInvalid(f"{len(masks)} masks for {len(pictures)} pictures; give one for each")
    count = len(pictures)
    seeds = list(seed) if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) else [seed] * count
    if bad := [one for one in seeds if not isinstance(one, int | np.integer)]:
        raise ConfigError(f"seed: {bad[0]!r} is not a whole number; give one for all pictures, or a list with one for each")
    if isinstance(sample_id, str):
        ids = [sample_id if number == 0 or sample_id else str(number) for number in range(count)]
    else:
        ids = list(sample_id)
    if not len(ids) == len(seeds) == count:
        raise ConfigError(f"{len(ids)} sample_ids and {len(seeds)} seeds for {count} pictures")
    return [
        _Given(_encoded(picture, "picture", ImageInvalid), _encoded(mask, "mask", MaskInvalid), int(one), name)
        for picture, mask, one, name in zip(pictures, masks, seeds, ids, strict=True)
    ]


def _unrestored(given: _Given, config: ImagesConfig, pipeline: RePaintPipeline) -> Unrestored:
    """Return a picture's windows as the actor of a job has them.

    Raises:
        ImageInvalid, MaskInvalid: as `prepare` raises them, or there is nothing to restore, or nothing to restore it from.
    """
    prepared = prepare(given.picture, given.mask, config, pipeline.prior.resolution_px)
    if prepared.hole_fraction in (0, 1):
        what = "marks no hole" if prepared.hole_fraction == 0 else "leaves no known pixel"
        raise MaskInvalid(f"the mask {what}; {config.hole} pixels are the ones to restore")
    _say_if_unfit(pipeline, prepared)
    keys = [sample_key(given.seed, given.sample_id, window) for window in range(len(prepared.windows))]
    as_in_jobs = [travelled(pixels, keep) for pixels, keep in zip(prepared.windows, prepared.keep_mask, strict=True)]
    return replace(Unrestored.of(prepared, keys), windows=np.stack(as_in_jobs))


def _restored(
    pipeline: RePaintPipeline, sampler: Sampler, pictures: list[Unrestored], batch_windows: int | None, progress: bool | None
) -> list[np.ndarray]:
    """Return every picture's restored windows, and draw a bar of network evaluations meanwhile."""
    engine = pipeline.engine(sampler, batch_windows or min(_MOST_WINDOWS, sum(len(one.plan) for one in pictures)))
    before, total = engine.used, sum(nfe_of(one.plan, sampler) for one in pictures)
    with tqdm(total=total, unit=" evaluations", disable=None if progress is None else not progress, leave=False) as bar:

        def moved(_: Restorer) -> None:
            bar.update(engine.used - before - bar.n)

        return restore_pictures(engine, pictures, moved)


def _images(images: ImagesConfig | Mapping[str, Any] | None, hole: str | None) -> ImagesConfig:
    """Return a job's settings of pictures; `hole` goes before theirs."""
    values = images.model_dump() if isinstance(images, ImagesConfig) else dict(images or {})
    return parse_config(values | ({} if hole is None else {"hole": hole}), ImagesConfig, "inpaint")


def _as_given(data: bytes, given: Any) -> Any:
    result = Image.open(io.BytesIO(data))
    result.load()
    return result if isinstance(given, Image.Image) else _as_array(result, given)


def _say_if_unfit(pipeline: RePaintPipeline, prepared: Prepared) -> None:
    """Warn of a prior that does not know such pictures; once for every prior, where the picture has windows to try it in."""
    if pipeline in _TRIED or len(prepared.plan) < PLACES or not can_be_tried(pipeline.prior):
        return
    _TRIED.add(pipeline)
    tried = leaves(prepared.plan)[:PLACES]
    seen = (prepared.windows[tried], prepared.keep_mask[tried])
    windows, keep_mask = (torch.from_numpy(np.stack([upright(one, prepared.orientation) for one in array])) for array in seen)
    warning = fit_of(pipeline.prior, PRESETS["preview"], windows.permute(0, 3, 1, 2), keep_mask).warning("this prior")
    if warning:
        warnings.warn(warning, stacklevel=_FRAMES)


@lru_cache(maxsize=2)
def _pipeline(prior: str | PriorConfig, precision: Literal["auto"] | Precision) -> RePaintPipeline:
    config = prior if isinstance(prior, PriorConfig) else PriorConfig(source=prior)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    compute = parse_config({"precision": precision}, ComputeConfig, "inpaint")
    return RePaintPipeline.from_prior(load_prior(config, Storage(), device=device, precision=precision_of(compute)))


def _encoded(given: Any, what: str, error: type[ImageInvalid | MaskInvalid]) -> bytes:
    """Return a picture or mask as the file that would be read as the same."""
    image = _as_image(given, error) if isinstance(given, np.ndarray) else given
    if not isinstance(image, Image.Image):
        raise error(f"a {what} is a PIL image or an array, not {type(given).__name__}")
    data = io.BytesIO()
    image.save(data, "PNG" if image.mode in _PNG_MODES else "TIFF")
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
