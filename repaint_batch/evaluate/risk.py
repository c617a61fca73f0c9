"""How well the risk of a restoration (`repaint_batch.images.risk`) tells where it went wrong, on pictures whose truth is known.

Held-out pictures are damaged in ten ways and three sizes and restored; the error of a restoration is the perceptual distance of
`repaint_batch.evaluate.imagenet` to the original over the hole's bounding box and a margin of 16 px, enlarged to 128 px at least.
`spearman` is the rank correlation of risk and error, `found` the share of the worst tenth that is among the fifth of the highest
risk. Intervals resample photographs, not crops: crops of one photograph err alike.
"""

import io
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from scipy.stats import rankdata, spearmanr
from torch import Tensor
from torch.nn import functional

from repaint_batch.config import ImagesConfig
from repaint_batch.damage.drawing import DAMAGE, draw_damage
from repaint_batch.evaluate.paper_masks import MaskName, paper_mask
from repaint_batch.evaluate.prints import as_tensor
from repaint_batch.images.restoration import Restored, compose, prepare
from repaint_batch.images.risk import Features
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.restorer import Unrestored, restore_pictures
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS

KINDS = (*DAMAGE, "wide", "narrow")
_ZOOMS = (1.0, 1.5, 2.5)
_SCALES = (1.0, 0.5, 0.25, 0.125)
_LARGEST_HOLE = 0.7
_MARGIN_PX, _LEAST_PX = 16, 128
_BATCH = 8
_DRAWS = 1000
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Case:
    """A picture and its hole: ``name`` is the photograph's, ``kind`` the damage's, the picture (H, W, 3) uint8."""

    name: str
    kind: str
    picture: np.ndarray
    hole: np.ndarray


def bundled_emoji() -> list[tuple[str, Image.Image]]:
    """Return the 36 held-out emoji of the benchmarks' corpus, by name."""
    with as_file(files("repaint_batch") / "assets" / "emoji.parquet") as path:
        rows = pq.read_table(path, columns=["sample_id", "original"]).to_pylist()
    return [(row["sample_id"], Image.open(io.BytesIO(row["original"])).convert("RGB")) for row in rows]


def cases_of(pictures: Sequence[tuple[str, Image.Image]], count: int, side_px: int) -> list[Case]:
    """Return `count` crops of pictures, each at a drawn scale, with a drawn hole; of pictures of `side_px` all is taken."""
    found = []
    for number in range(count):
        name, picture = pictures[number % len(pictures)]
        kind = KINDS[(number + number // len(pictures)) % len(KINDS)]
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        found.append(Case(name, kind, _crop(picture, side_px, rng), drawn_hole(kind, side_px, rng)))
    return found


def _crop(picture: Image.Image, side_px: int, rng: np.random.Generator) -> np.ndarray:
    scale = max(side_px / min(picture.size), float(rng.choice(_SCALES)))
    small = picture.resize([max(side_px, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    left, top = (int(rng.integers(0, side - side_px + 1)) for side in small.size)
    return np.asarray(small.crop((left, top, left + side_px, top + side_px)))


def drawn_hole(kind: str, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return (S, S) bool, True = hole: a piece of damage that was drawn for a picture of one to two and a half times the size."""
    while True:
        whole = round(side_px * rng.choice(_ZOOMS))
        seed = int(rng.integers(2**31))
        if kind in DAMAGE:
            hole = draw_damage(kind, whole, whole, seed).hole
        else:
            mask: MaskName = "wide" if kind == "wide" else "narrow"
            hole = ~paper_mask(mask, whole, whole, seed)[0].numpy()
        left, top = rng.integers(0, whole - side_px + 1, 2)
        hole = hole[top : top + side_px, left : left + side_px]
        if 4 <= hole.sum() <= _LARGEST_HOLE * hole.size:
            return hole


def restored(
    cases: Sequence[Case], pipeline: RePaintPipeline, preset: str, seeds: int
) -> Iterable[tuple[int, int, Restored, np.ndarray]]:
    """Yield number of the case, seed, what `compose` says of it, and its pixels (H, W, 3) uint8."""
    config, side_px = ImagesConfig(), pipeline.prior.resolution_px
    data = [(_png(case.picture), _png(case.hole.astype(np.uint8) * 255)) for case in cases]
    todo = []
    for number, (image, mask) in enumerate(data):
        prepared = prepare(image, mask, config, side_px)
        for seed in range(seeds):
            keys = [sample_key(seed, f"{cases[number].name}/{number}", window) for window in range(len(prepared.windows))]
            todo.append((number, seed, Unrestored.of(prepared, keys)))
    engine = pipeline.engine(PRESETS[preset], _BATCH)
    for (number, seed, _), windows in zip(todo, restore_pictures(engine, [one for _, _, one in todo]), strict=True):
        done = compose(*data[number], windows, config, side_px, "source")
        yield number, seed, done, np.asarray(Image.open(io.BytesIO(done.data)).convert("RGB"))


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def perceptual_error(distance: Distance, restored: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """Return the distance of two pictures (H, W, 3) uint8 around the hole, see the module's docstring."""
    box = tuple(
        slice(max(int(at.min()) - _MARGIN_PX, 0), int(at.max()) + 1 + _MARGIN_PX) for at in np.nonzero(hole)
    )
    pair = torch.cat([as_tensor(restored[box]), as_tensor(truth[box])])
    times = -(-_LEAST_PX // min(pair.shape[2:]))
    if times > 1:
        pair = functional.interpolate(pair, scale_factor=times, mode="bicubic", align_corners=False).clamp(-1, 1)
    return float(distance(pair[:1], pair[1:]))


def hole_rmse(restored: np.ndarray, truth: np.ndarray, hole: np.ndarray) -> float:
    """Return the root mean square error over the hole, in levels of 8 bits."""
    return float(np.sqrt(np.square(restored[hole].astype(np.float64) - truth[hole]).mean()))


def spearman(score: np.ndarray, error: np.ndarray) -> float:
    """Return the rank correlation of (N,) scores and errors; 0 where either is constant."""
    return float(np.nan_to_num(spearmanr(score, error).statistic))


def found(score: np.ndarray, error: np.ndarray) -> float:
    """Return the share of the tenth of the largest errors that is among the fifth of the largest scores."""
    worst = np.argsort(-error, kind="stable")[: max(1, len(error) // 10)]
    first = np.argsort(-score, kind="stable")[: max(1, len(error) // 5)]
    return float(np.isin(worst, first).mean())


def with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], score: np.ndarray, error: np.ndarray, names: Sequence[str]
) -> tuple[float, float, float]:
    """Return a statistic with its 95 % interval; draws are of names, each with all that is of it."""
    rng, (each, of) = np.random.default_rng(0), np.unique(np.asarray(names), return_inverse=True)
    members = [np.flatnonzero(of == number) for number in range(len(each))]
    drawn = []
    for _ in range(_DRAWS):
        rows = np.concatenate([members[number] for number in rng.integers(0, len(each), len(each))])
        drawn.append(statistic(score[rows], error[rows]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return statistic(score, error), float(low), float(high)


def measured(
    cases: Sequence[Case], pipeline: RePaintPipeline, preset: str, seeds: int, distance: Distance
) -> list[dict[str, Any]]:
    """Return one row a restoration: what it is of, its errors, what is foretold of it, and the evidence for that."""
    rows = []
    for number, seed, done, pixels in restored(cases, pipeline, preset, seeds):
        case = cases[number]
        errors = {
            "error": perceptual_error(distance, pixels, case.picture, case.hole),
            "rmse": hole_rmse(pixels, case.picture, case.hole),
        }
        told = {"risk": done.risk.score, "seam_score": done.seam_score, "hole_px": int(case.hole.sum())}
        evidence = {} if done.risk.features is None else done.risk.features._asdict()
        rows.append({"number": number, "name": case.name, "kind": case.kind, "seed": seed, **errors, **told, **evidence})
    return [row for row in rows if row["risk"] is not None]


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return lines that tell how risk, the seam score and the hole's size agree with the errors."""
    columns = ("error", "rmse", "risk", "seam_score", "hole_px")
    values = {name: np.array([row[name] or 1.0 for row in rows], np.float64) for name in columns}
    names, error = [row["name"] for row in rows], values["error"]
    lines = [f"{len(rows)} restorations of {len({row['number'] for row in rows})} damaged crops of {len(set(names))} pictures"]
    scores = {"risk": values["risk"], "hole_px": values["hole_px"], "seam": np.abs(np.log(values["seam_score"]))}
    for name, score in scores.items():
        rank, most = (with_interval(statistic, score, error, names) for statistic in (spearman, found))
        lines.append(
            f"{name:8} rank correlation with the perceptual error {_shown(rank)}, with the hole's RMSE "
            f"{spearman(score, values['rmse']):.2f}; of the worst tenth among the first fifth {_shown(most)}"
        )
    ranks = (rankdata(error) - 0.5) / len(error)
    for low in np.arange(0, 1, 0.2):
        inside = (values["risk"] >= low) & (values["risk"] < low + 0.2)
        if inside.any():
            lines.append(f"risk {low:.1f} to {low + 0.2:.1f}: {inside.sum()} restorations, mean rank {ranks[inside].mean():.2f}")
    kinds = {kind: [number for number, row in enumerate(rows) if row["kind"] == kind] for kind in KINDS}
    within = [spearman(values["risk"][at], error[at]) for at in kinds.values() if len(at) > 4]
    if within:
        lines.append(f"within a kind of damage, mean of {len(within)}: rank correlation {np.mean(within):.2f}")
    return lines + chosen(rows)


def chosen(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return lines that tell the mean error of the candidate that each score chooses of those of a picture."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["number"], []).append(row)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return []
    mean = np.array([np.mean([row["error"] for row in group]) for group in several])
    lines, names = [], [group[0]["name"] for group in several]
    for name in ("risk", "seam_score", "error"):
        kept = np.array([min(group, key=lambda row, by=name: row[by] or math.inf)["error"] for group in several])  # type: ignore[misc]
        change, low, high = with_interval(lambda a, b: float(a.mean() / b.mean() - 1), kept, mean, names)
        lines.append(f"candidate of the lowest {name:10}: perceptual error {change:+.1%} ({low:+.1%} to {high:+.1%}) of the mean")
    return lines


def _shown(values: tuple[float, float, float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


def fitted(corpora: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Return the constants of `repaint_batch.images.risk` by least squares on normal scores; every corpus weighs the same."""
    left, right, means = [], [], []
    for rows in corpora:
        evidence = np.log([[row[name] for name in Features._fields] for row in rows])
        means.append(evidence.mean(0))
        ranks = (rankdata([row["error"] for row in rows]) - 0.5) / len(rows)
        left.append((evidence - means[-1]) / math.sqrt(len(rows)))
        right.append(np.array([NormalDist().inv_cdf(rank) for rank in ranks]) / math.sqrt(len(rows)))
    x, z = np.concatenate(left), np.concatenate(right)
    slopes = np.linalg.lstsq(x, z, rcond=None)[0]
    explained = 1 - np.square(z - x @ slopes).sum() / np.square(z).sum()
    return f"slopes {slopes.round(2).tolist()}, means {np.mean(means, 0).round(2).tolist()}, R² {explained:.2f}"
