"""The pictures part: samplers on a trained prior and pictures it has not seen, under the six masks of the paper.

Every picture is restored once for every seed. Scores of single pictures are averaged over seeds, and their intervals resample
pictures; distances between sets compare all restorations of one seed with the originals, and their interval is the range
over seeds. With a dozen pictures those distances are noise: use hundreds before believing them.
"""

import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repaint_batch.config import StorageConfig
from repaint_batch.errors import ConfigError
from repaint_batch.evaluate import metrics
from repaint_batch.evaluate.features import Features, bottleneck, random_convolutions
from repaint_batch.evaluate.paper_masks import MASKS, MaskName, paper_mask
from repaint_batch.evaluate.rivals import Filler
from repaint_batch.evaluate.scores import EVERY_MASK, Metric, Score, summarise
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.pictures import PICTURE_SUFFIXES, held_out, square
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.storage import Storage

METRICS = (
    Metric("psnr", "Hole PSNR, dB", "high", "against the original; rewards the mean picture, so never read it alone"),
    Metric("ssim", "Hole SSIM", "high", "against the original, over the hole"),
    Metric("lpips", "LPIPS", "low", "perceptual distance to the original"),
    Metric("diversity", "Diversity", "high", "RMS difference in the hole between seeds"),
    Metric("calibration", "Spread / error", "one", "mean square between seeds over that to the original; 1 if exact"),
    Metric("seam", "Seam", "one", "step across the hole's border over the original's; above 1 is visible, below too smooth"),
    Metric("kernel_prior", "KID-style, prior", "low", "squared MMD to the originals, features of the prior's middle block"),
    Metric("kernel_random", "KID-style, random", "low", "squared MMD to the originals, features of fixed random filters"),
    Metric("frechet_random", "FID-style, random", "low", "Fréchet distance to the originals, features of fixed random filters"),
    Metric("seconds", "Seconds", "low", "wall time for one picture on this machine, other work on it included"),
)
_HOLDOUT_ONE_IN = 20


def read_held_out(folder: str, size_px: int, count: int, *, every: bool = False) -> tuple[list[str], Tensor]:
    """Return names and pictures (N, 3, S, S) in [-1, 1] of at most `count` held-out pictures, spread over the folder.

    Args:
        folder: folder or prefix of pictures.
        size_px: S.
        count: how many.
        every: take training pictures too, for folders that the prior has never seen.

    Raises:
        ConfigError: there are none.
    """
    storage = Storage(StorageConfig())
    uris = sorted(uri for uri, _ in storage.list(folder) if uri.lower().endswith(PICTURE_SUFFIXES))
    chosen = [uri for uri in uris if every or held_out(uri, _HOLDOUT_ONE_IN)]
    if not chosen:
        which = f"none of its {len(uris)} pictures is held out; --every-picture takes all, if the prior has seen none"
        raise ConfigError(f"--pictures {folder}: {which}")
    chosen = [chosen[i * len(chosen) // min(count, len(chosen))] for i in range(min(count, len(chosen)))]
    pixels = [np.asarray(square(Image.open(io.BytesIO(storage.read(uri))), size_px)) for uri in chosen]
    return chosen, torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True, eq=False)
class PictureRun:
    """What samplers are judged on.

    Attributes:
        prior: the trained prior.
        names: of the pictures; noise and masks depend on them.
        pictures: (N, C, H, W) float32 in [-1, 1].
        masks: of the paper's.
        seeds: restorations of each picture, at least 2.
        batch_windows: pictures in a network call.
        lpips: as `features.perceptual` gives it, or None.
    """

    prior: LoadedPrior
    names: Sequence[str]
    pictures: Tensor
    masks: Sequence[MaskName] = MASKS
    seeds: int = 2
    batch_windows: int = 16
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    features: dict[str, Features] = field(init=False)

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise ConfigError("--seeds: at least 2; diversity and calibration compare restorations of one picture")
        found = {"random": random_convolutions(self.pictures.shape[1])}
        own = bottleneck(self.prior, self.batch_windows)
        object.__setattr__(self, "features", found | ({"prior": own} if own else {}))

    def keep_masks(self, mask: MaskName) -> Tensor:
        """Return (N, 1, H, W) bool."""
        height, width = self.pictures.shape[2:]
        return torch.stack([paper_mask(mask, height, width, seed) for seed in range(len(self.pictures))])

    @torch.inference_mode()
    def restore(self, sampler: Sampler, mask: MaskName) -> Tensor:
        """Return (S, N, C, H, W) restorations, values in [-1, 1]."""
        keys = [sample_key(seed, f"{mask}/{name}") for seed in range(self.seeds) for name in self.names]
        known, keep = self.pictures.repeat(self.seeds, 1, 1, 1), self.keep_masks(mask).repeat(self.seeds, 1, 1, 1)
        pipeline = RePaintPipeline.from_prior(self.prior)
        done = pipeline.restore(known, keep, keys, sampler=sampler, batch_windows=self.batch_windows).clamp(-1, 1)
        return done.reshape(self.seeds, *self.pictures.shape)


def evaluate_pictures(
    samplers: Mapping[str, Sampler],
    run: PictureRun,
    *,
    report: Callable[[str], None] = lambda line: None,
    show: Callable[[str, MaskName, Tensor], None] | None = None,
) -> Iterable[Score]:
    """Yield the scores of `samplers`; `show` is handed (sampler, mask, (S, N, C, H, W) restorations)."""
    for name, sampler in samplers.items():
        values: dict[str, dict[str, Tensor]] = {}
        sets: dict[str, dict[str, list[float]]] = {}
        for mask in run.masks:
            report(f"pictures: {name}, {sampler.nfe} evaluations, {mask}")
            started = time.perf_counter()
            restored = run.restore(sampler, mask)
            seconds = (time.perf_counter() - started) / (run.seeds * len(run.pictures))
            if show is not None:
                show(name, mask, restored)
            for metric, found in _single(restored, run.pictures, run.keep_masks(mask), run.lpips).items():
                values.setdefault(metric, {})[mask] = found
            values.setdefault("seconds", {})[mask] = torch.full((len(run.pictures),), seconds)
            for metric, over_seeds in _between_sets(restored, run).items():
                sets.setdefault(metric, {})[mask] = over_seeds
        for metric, by_mask in values.items():
            yield from summarise("pictures", name, sampler.nfe, metric, by_mask)
        for metric, by_mask_sets in sets.items():
            yield from _over_seeds(name, sampler.nfe, metric, by_mask_sets)


def evaluate_filler(
    name: str, fill: Filler, run: PictureRun, show: Callable[[str, MaskName, Tensor], None] | None = None
) -> Iterable[Score]:
    """Yield the scores of what fills holes without a network, and always in the same way."""
    values: dict[str, dict[str, Tensor]] = {}
    pixels = ((run.pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    for mask in run.masks:
        keep, started = run.keep_masks(mask), time.perf_counter()
        filled = np.stack([fill(one, ~kept[0].numpy()) for one, kept in zip(pixels, keep, strict=True)])
        seconds = (time.perf_counter() - started) / len(filled)
        restored = torch.from_numpy(filled).permute(0, 3, 1, 2).float()[None] / 127.5 - 1
        if show is not None:
            show(name, mask, restored)
        found = {
            "psnr": metrics.hole_psnr(restored[0], run.pictures, keep),
            "ssim": metrics.hole_ssim(restored[0], run.pictures, keep),
            "seam": metrics.seam(restored[0], run.pictures, keep),
            "seconds": torch.full((len(filled),), seconds),
        }
        for metric, of_mask in found.items():
            values.setdefault(metric, {})[mask] = of_mask
    for metric, by_mask in values.items():
        yield from summarise("pictures", name, 0, metric, by_mask)


@torch.inference_mode()
def _single(
    restored: Tensor, truth: Tensor, keep_mask: Tensor, lpips: Callable[[Tensor, Tensor], Tensor] | None
) -> dict[str, Tensor]:
    """Return (N,) or (N, 2) values of every metric of single pictures."""
    seeds = len(restored)
    pairs = [(i, j) for i in range(seeds) for j in range(i + 1, seeds)]
    found = {
        "psnr": torch.stack([metrics.hole_psnr(x, truth, keep_mask) for x in restored]).mean(0),
        "ssim": torch.stack([metrics.hole_ssim(x, truth, keep_mask) for x in restored]).mean(0),
        "diversity": torch.stack([metrics.pair_distance(restored[i], restored[j], keep_mask) for i, j in pairs]).mean(0),
        "calibration": metrics.calibration(restored, truth, keep_mask),
        "seam": torch.stack([metrics.seam(x, truth, keep_mask) for x in restored]).mean(0),
    }
    if lpips is not None:
        found["lpips"] = torch.stack([lpips(x, truth) for x in restored]).mean(0)
    return found


@torch.inference_mode()
def _between_sets(restored: Tensor, run: PictureRun) -> dict[str, list[float]]:
    """Return a value for every seed of every distance between sets; none for fewer than four pictures."""
    found: dict[str, list[float]] = {}
    if len(run.pictures) < 4:
        return found
    for kind, features in run.features.items():
        originals = features(run.pictures)
        for x in restored:
            mine = features(x)
            found.setdefault(f"kernel_{kind}", []).append(metrics.kernel_distance(mine, originals))
            if kind == "random":
                found.setdefault("frechet_random", []).append(metrics.frechet_distance(mine, originals))
    return found


def _over_seeds(name: str, nfe: int, metric: str, by_mask: Mapping[str, Sequence[float]]) -> Iterable[Score]:
    overall = [float(np.mean(values)) for values in zip(*by_mask.values(), strict=True)]
    for mask, values in [*by_mask.items(), (EVERY_MASK, overall)]:
        yield Score("pictures", name, nfe, mask, metric, float(np.mean(values)), min(values), max(values), len(values))
