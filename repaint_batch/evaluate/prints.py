"""The prints part: held-out photographs, damaged as prints are, restored by presets and by what a user would pick instead.

Scores of single pictures are averaged over seeds, and their intervals resample pictures. Gains are paired: ours and the best
rival's on the same picture under the same damage; the best rival of a kind has the highest mean PSNR, or the lowest distance.
"""

import io
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repaint_batch.config import StorageConfig
from repaint_batch.damage.drawing import DAMAGE, Damage, DamageName, draw_damage
from repaint_batch.errors import ConfigError
from repaint_batch.evaluate import metrics
from repaint_batch.evaluate.rivals import Filler
from repaint_batch.evaluate.scores import Metric, Score, summarise
from repaint_batch.inpainting import RePaintPipeline, inpaint
from repaint_batch.priors.pictures import PICTURE_SUFFIXES, flatten_on_white, held_out
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage

METRICS = (
    Metric("psnr", "Hole PSNR, dB", "high", "of single restorations, against the original"),
    Metric("psnr_mean", "Hole PSNR of the mean, dB", "high", "of the mean of all seeds"),
    Metric("ssim", "Hole SSIM", "high", "of single restorations"),
    Metric("seam", "Seam", "one", "step across the hole's border over the original's"),
    Metric("grain", "Grain", "one", "in the hole over the original's there"),
    Metric("lite0", "Perceptual", "low", "distance to the original, ImageNet features of EfficientNet-Lite0, times 1000"),
    Metric("gain", "PSNR gain, dB", "high", "over the best rival on the same picture"),
    Metric("gain_mean", "PSNR gain of the mean, dB", "high", "of the mean of all seeds over the best rival"),
    Metric("lite0_ratio", "Perceptual ratio", "low", "distance over the best rival's"),
)
_SCALES = (1.0, 0.5, 0.25)


def read_crops(
    folder: str, size_px: int, count: int, *, training: TrainConfig | None = None, every: bool = False
) -> tuple[list[str], list[np.ndarray]]:
    """Return names and crops (S, S, 3) uint8 of at most `count` held-out pictures, spread over the folder, at several scales.

    Args:
        folder: folder or prefix of pictures.
        size_px: S.
        count: how many.
        training: what the prior was trained by; its hold-out decides. None: one in 20 by name.
        every: take training pictures too, for folders that the prior has never seen.

    Raises:
        ConfigError: there are none.
    """
    storage = Storage(StorageConfig())
    one_in, patterns = (20, ()) if training is None else (training.holdout_one_in, training.held_out)
    uris = sorted(uri for uri, _ in storage.list(folder) if uri.lower().endswith(PICTURE_SUFFIXES))
    unseen = [uri for uri in uris if every or held_out(uri, one_in, patterns)]
    if not unseen:
        raise ConfigError(f"--pictures {folder}: none of its {len(uris)} pictures is held out; see --training, --every-picture")
    chosen = [unseen[i * len(unseen) // min(count, len(unseen))] for i in range(min(count, len(unseen)))]
    names = [uri.rsplit("/", 1)[-1] for uri in chosen]
    pictures = (flatten_on_white(Image.open(io.BytesIO(storage.read(uri)))) for uri in chosen)
    return names, [_crop(picture, name, size_px) for picture, name in zip(pictures, names, strict=True)]


def _crop(picture: Image.Image, name: str, size_px: int) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    least = size_px / min(picture.size)
    scale = max(least, rng.choice(_SCALES))
    width, height = (max(size_px, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, side - size_px + 1)) for side in picture.size)
    return np.asarray(picture.crop((left, top, left + size_px, top + size_px)))


@dataclass(frozen=True, eq=False)
class PrintRun:
    """What is judged on what.

    Attributes:
        pipeline: holds the prior.
        names: of the pictures.
        pictures: (S, S, 3) uint8 each.
        rivals: by name.
        distance: perceptual, from two sets of pictures (B, 3, H, W) in [-1, 1] to (B,).
        kinds: of damage.
        seeds: restorations of each picture.
    """

    pipeline: RePaintPipeline
    names: Sequence[str]
    pictures: Sequence[np.ndarray]
    rivals: Mapping[str, Filler]
    distance: Callable[[Tensor, Tensor], Tensor]
    kinds: Sequence[DamageName] = DAMAGE
    seeds: int = 2

    def damage(self, kind: DamageName, number: int) -> Damage:
        """Return the damage of one picture."""
        height, width = self.pictures[number].shape[:2]
        return draw_damage(kind, height, width, number)

    def restored(self, method: str, kind: DamageName, number: int) -> list[np.ndarray]:
        """Return restorations (S, S, 3) uint8 of one picture: one of a rival, one for each seed of a preset."""
        damage = self.damage(kind, number)
        damaged = damage.over(self.pictures[number])
        if method in self.rivals:
            return [self.rivals[method](damaged, damage.hole)]
        return [
            inpaint(damaged, damage.hole, prior=self.pipeline, preset=method, seed=seed) for seed in range(self.seeds)
        ]


def evaluate_prints(
    presets: Sequence[str],
    run: PrintRun,
    *,
    report: Callable[[str], None] = lambda line: None,
    show: Callable[[str, DamageName, list[np.ndarray]], None] | None = None,
) -> Iterable[Score]:
    """Yield the scores of rivals and presets; `show` is handed (method, kind, the first restoration of each picture)."""
    best: dict[DamageName, dict[str, Tensor]] = {}
    for method in (*run.rivals, *presets):
        by_metric: dict[str, dict[str, Tensor]] = {}
        for kind in run.kinds:
            report(f"prints: {method}, {kind}")
            found = [run.restored(method, kind, number) for number in range(len(run.pictures))]
            if show is not None:
                show(method, kind, [samples[0] for samples in found])
            values = _scores(run, kind, found)
            if method in run.rivals:
                best[kind] = _better(best.get(kind), values)
            elif kind in best:
                values["gain"] = values["psnr"] - best[kind]["psnr"]
                values["gain_mean"] = values["psnr_mean"] - best[kind]["psnr"]
                values["lite0_ratio"] = torch.stack([values["lite0"], best[kind]["lite0"]], 1)
            for metric, one in values.items():
                by_metric.setdefault(metric, {})[kind] = one
        nfe = 0 if method in run.rivals else PRESETS[method].nfe
        for metric, by_kind in by_metric.items():
            yield from summarise("prints", method, nfe, metric, by_kind)


def _better(best: dict[str, Tensor] | None, values: dict[str, Tensor]) -> dict[str, Tensor]:
    if best is None:
        return {"psnr": values["psnr"], "lite0": values["lite0"]}
    psnr = max(best["psnr"], values["psnr"], key=lambda one: float(one.mean()))
    return {"psnr": psnr, "lite0": min(best["lite0"], values["lite0"], key=lambda one: float(one.mean()))}


def _scores(run: PrintRun, kind: DamageName, found: Sequence[list[np.ndarray]]) -> dict[str, Tensor]:
    """Return (N,) or (N, 2) values of N pictures by metric."""
    rows: dict[str, list[Tensor]] = {}
    for number, samples in enumerate(found):
        truth, keep = as_tensor(run.pictures[number]), torch.from_numpy(~run.damage(kind, number).hole)[None, None]
        x = torch.cat([as_tensor(sample) for sample in samples])
        truths, keeps = truth.expand_as(x), keep.expand(len(x), -1, -1, -1)
        values = {
            "psnr": metrics.hole_psnr(x, truths, keeps),
            "psnr_mean": metrics.hole_psnr(x.mean(0, keepdim=True), truth, keep),
            "ssim": metrics.hole_ssim(x, truths, keeps),
            "seam": metrics.seam(x, truths, keeps),
            "grain": metrics.grain(x, truths, keeps),
            "lite0": 1000 * run.distance(x, truths),
        }
        for metric, value in values.items():
            rows.setdefault(metric, []).append(value.mean(0))
    return {metric: torch.stack(values) for metric, values in rows.items()}


def as_tensor(picture: np.ndarray) -> Tensor:
    """Return (1, 3, H, W) float32 in [-1, 1] of (H, W, 3) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
