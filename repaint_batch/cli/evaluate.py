"""``repaint-batch dev evaluate``: what samplers are worth, on an exact posterior and on held-out pictures."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from repaint_batch.cli.flags import flags
from repaint_batch.cli.waiting import waiting
from repaint_batch.config import PriorConfig, StorageConfig, load_config
from repaint_batch.damage.drawing import DAMAGE, DamageName
from repaint_batch.errors import ConfigError, did_you_mean
from repaint_batch.evaluate import oracle, prints, restored, rivals
from repaint_batch.evaluate.features import perceptual
from repaint_batch.evaluate.imagenet import lite0_distance
from repaint_batch.evaluate.laws import LAWS
from repaint_batch.evaluate.page import Sheet, write_evaluation
from repaint_batch.evaluate.paper_masks import MASKS, MaskName
from repaint_batch.evaluate.precision import evaluate_precision
from repaint_batch.evaluate.samplers import Langevin, Projected
from repaint_batch.evaluate.scores import EVERY_MASK, Score
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.device import compiled, missing_compiler
from repaint_batch.priors.load import LoadedPrior, Precision, load_prior
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.storage import Storage

NameT = TypeVar("NameT", bound=str)
COMPARED: dict[str, Sampler] = {
    "repaint-460": RePaint(100, 10, 5),
    "projected-100": Projected(),
    "langevin-60": Langevin(),
}
"""Samplers that no preset uses, for comparison."""
_SHEET_PICTURES = 12
_QUICK_PRESETS = ("preview", "fast")
_QUICK_MASKS: tuple[MaskName, ...] = ("wide", "half")
_WINDOWS_ACROSS = 4
"""Windows that would lie side by side in a crop of --damage."""


def evaluate(
    output: Annotated[Path, typer.Option(help="Folder for evaluation.json, .csv, .html and the plots.")],
    pictures: Annotated[str | None, typer.Option(help="Folder of pictures; held-out ones are restored with the prior.")] = None,
    prior: Annotated[str, typer.Option(help="Prior for --pictures, as in a job's config.")] = "bundled:photo",
    law: Annotated[list[str] | None, typer.Option(help=f"Of the exact laws {', '.join(LAWS)}; all by default.")] = None,
    sampler: Annotated[list[str] | None, typer.Option(help="Presets or compared samplers; all by default.")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="Masks of the paper; all six by default.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Pictures of each law, and of --pictures.")] = 24,
    samples: Annotated[int, typer.Option(min=16, help="Restorations of each picture of a law under each mask.")] = 128,
    seeds: Annotated[int, typer.Option(min=2, help="Restorations of each held-out picture.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the laws' pictures and noise.")] = 0,
    lpips: Annotated[Path | None, typer.Option(help="TorchScript file of LPIPS weights.")] = None,
    precision: Annotated[str, typer.Option(help="Arithmetic of the network: float32, bfloat16 or float16.")] = "float32",
    every_picture: Annotated[bool, typer.Option(help="Take all of --pictures, not held-out ones alone.")] = False,
    damage: Annotated[bool, typer.Option(help="Damage --pictures as prints are, and restore them beside rivals.")] = False,
    training: Annotated[Path | None, typer.Option(help="With --damage: what trained the prior; says what is held out.")] = None,
    rival: Annotated[list[str] | None, typer.Option(help="With --damage: telea, navier-stokes, biharmonic; all three.")] = None,
    skip_laws: Annotated[bool, typer.Option(help="Leave out the part on exact posteriors.")] = False,
    quick: Annotated[bool, typer.Option(help="In two minutes: presets fast and preview, two masks, few pictures.")] = False,
) -> None:
    """Judge samplers: distance to exact posteriors, and quality on held-out pictures under the paper's six masks.

    With --damage it is scratches, dust, creases, stains, stamps, writing, torn corners and objects instead of those masks,
    crops of 256 px in windows of 64, and OpenCV's Telea and Navier-Stokes and scikit-image's biharmonic filling beside presets.

    Example: repaint-batch dev evaluate --output judged --pictures photos --quick
    """
    console = Console(stderr=True)
    samplers, laws, precise = _chosen(sampler, quick), _of(LAWS, law, "--law"), _precision(precision)
    kinds = _of(DAMAGE, mask, "--damage --mask") if damage else ()
    masks = () if damage else _of(MASKS, mask, "--mask")
    if quick:
        count, samples, seeds = min(count, 4), min(samples, 16), 2
        masks = masks if mask else masks and _QUICK_MASKS
        laws = laws if law or pictures is None else laws[:1]
    laws = () if skip_laws else laws
    settings = {"laws": laws, "count": count, "samples": samples, "masks": masks, "seeds": seeds, "seed": seed}
    settings |= {"prior": prior if pictures is not None else None, "precision": precision, "torch": torch.__version__}
    found = _Found(output, samplers, settings)
    with waiting("reading pictures and the prior") as say:
        run: prints.PrintRun | restored.PictureRun | None = None  # before the laws, which take long, if there is none
        if pictures is not None and damage:
            run = _print_run(pictures, prior, precise, count, seeds, every_picture, training, rival, kinds)
        elif pictures is not None:
            run = replace(_picture_run(pictures, prior, precise, count, seeds, every_picture, lpips), masks=masks)
        by_law = partial(oracle.evaluate_law, pictures=count, samples=samples, masks=masks, seed=seed, report=say)
        for name in laws:
            found.take(by_law(name, samplers))
        if isinstance(run, prints.PrintRun):
            _judge_prints(found, run, say)
        elif run is not None:
            _judge_pictures(found, run, console, say)
            if precision == "float32" and not quick:
                engines = _engines(prior, run.batch_windows, console)
                found.take(evaluate_precision(engines, run, PRESETS["fast"], report=say))
    if not found.scores:
        raise ConfigError("nothing to evaluate: with --skip-laws, give --pictures")
    found.write()
    _print(found.scores)
    Console().print(f"written: {output / 'evaluation.html'}")


@dataclass
class _Found:
    """What has been judged so far. It is written at every sampler: a run of hours that is stopped leaves what it had."""

    output: Path
    samplers: Mapping[str, Sampler]
    settings: Mapping[str, Any]
    scores: list[Score] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)

    def take(self, scores: Iterable[Score]) -> None:
        """Add scores as they come."""
        for score in scores:
            if self.scores and self.scores[-1].sampler != score.sampler:
                self.write()
            self.scores.append(score)

    def write(self) -> None:
        """Write all of it."""
        write_evaluation(self.output, self.scores, self.samplers, self.settings, self.sheets)


def _judge_prints(found: _Found, run: prints.PrintRun, say: Callable[[str], None]) -> None:
    """Judge presets and rivals on damaged prints, and draw a sheet of every kind of damage."""
    shown: dict[DamageName, list[tuple[str, list[np.ndarray]]]] = {}

    def show(method: str, kind: DamageName, pictures: list[np.ndarray]) -> None:
        shown.setdefault(kind, []).append((method, pictures[:_SHEET_PICTURES]))

    presets = [name for name in found.samplers if name in PRESETS]
    found.take(prints.evaluate_prints(presets, run, report=say, show=show))
    found.output.mkdir(parents=True, exist_ok=True)
    found.sheets = [_print_sheet(found.output, run, kind, rows) for kind, rows in shown.items()]


def _judge_pictures(found: _Found, run: restored.PictureRun, console: Console, say: Callable[[str], None]) -> None:
    """Judge samplers, and a filler where one is installed, under the paper's masks, and draw a sheet of every mask."""
    shown: dict[MaskName, list[tuple[str, Tensor]]] = {}

    def show(name: str, mask: MaskName, pictures: Tensor) -> None:
        shown.setdefault(mask, []).append((name, pictures[0, :_SHEET_PICTURES]))

    if filler := _classical(console):
        found.take(restored.evaluate_filler(*filler, run, show))
    found.take(restored.evaluate_pictures(found.samplers, run, report=say, show=show))
    found.output.mkdir(parents=True, exist_ok=True)
    found.sheets = [_sheet(found.output, run, mask, rows) for mask, rows in shown.items()]


def _classical(console: Console) -> tuple[str, rivals.Filler] | None:
    """Return what a prior must beat to be worth its time, where it is installed."""
    try:
        return next(iter(rivals.checked(("telea",)).items()))
    except ConfigError as error:
        console.print(f"no classical baseline: {error}")
        return None


def _chosen(names: list[str] | None, quick: bool) -> Mapping[str, Sampler]:
    known = PRESETS | COMPARED
    if not names:
        return {name: PRESETS[name] for name in _QUICK_PRESETS} if quick else known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"--sampler {unknown[0]}: not one of {', '.join(known)}{did_you_mean(unknown[0], known)}")
    return {name: known[name] for name in names}


def _of(known: Iterable[NameT], names: list[str] | None, flag: str) -> tuple[NameT, ...]:
    """Return those of the known names that were given, or all of them if none was, in their own order."""
    known = tuple(known)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"{flag} {unknown[0]}: not one of {', '.join(known)}{did_you_mean(unknown[0], known)}")
    return tuple(name for name in known if not names or name in names)


def _print_sheet(output: Path, run: prints.PrintRun, kind: DamageName, rows: list[tuple[str, list[np.ndarray]]]) -> Sheet:
    originals = list(run.pictures[:_SHEET_PICTURES])
    damaged = [run.damage(kind, number).over(picture) for number, picture in enumerate(originals)]
    grid = [originals, damaged, *(found for _, found in rows)]
    Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in grid])).save(output / f"{kind}.png")
    return Sheet(kind, f"{kind}.png", ", ".join(["originals", "damaged", *(name for name, _ in rows)]))


def _precision(name: str) -> Precision:
    if name not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"--precision {name}: not one of float32, bfloat16, float16")
    return name  # type: ignore[return-value]


def _print_run(
    folder: str,
    source: str,
    precision: Precision,
    count: int,
    seeds: int,
    every: bool,
    training: Path | None,
    rival: list[str] | None,
    kinds: tuple[DamageName, ...],
) -> prints.PrintRun:
    known = rivals.checked(tuple(rival or rivals.RIVALS))  # before what takes seconds to load
    prior = _prior(source, precision)
    config = None if training is None else load_config(training, TrainConfig)
    names, crops = prints.read_crops(folder, _WINDOWS_ACROSS * prior.resolution_px, count, training=config, every=every)
    return prints.PrintRun(RePaintPipeline.from_prior(prior), names, crops, known, lite0_distance(), kinds, seeds)


def _picture_run(
    folder: str, source: str, precision: Precision, count: int, seeds: int, every: bool, lpips: Path | None
) -> restored.PictureRun:
    prior = _prior(source, precision)
    names, originals = restored.read_held_out(folder, prior.resolution_px, count, every=every)
    names = [name.rsplit("/", 1)[-1] for name in names]
    batch = min(16, len(names) * seeds)
    distance = perceptual(lpips) if lpips else None
    return restored.PictureRun(prior, names, originals, seeds=seeds, batch_windows=batch, lpips=distance)


def _engines(source: str, batch_windows: int, console: Console) -> dict[str, Callable[[], LoadedPrior]]:
    """Return what a job may be told to run the network with instead of float32."""

    def made(precision: Precision) -> LoadedPrior:
        return compiled(_prior(source, precision))

    precisions: list[Precision] = ["bfloat16", "float16"] if torch.cuda.is_available() else ["bfloat16"]
    found: dict[str, Callable[[], LoadedPrior]] = {name: partial(_prior, source, name) for name in precisions}
    missing = missing_compiler()
    if missing:
        console.print(f"not compiled: {missing}")
        return found
    return found | {"float32, compiled": partial(made, "float32"), "bfloat16, compiled": partial(made, "bfloat16")}


def _prior(source: str, precision: Precision) -> LoadedPrior:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with flags(source="--prior"):
        return load_prior(PriorConfig(source=source), Storage(StorageConfig()), device=device, precision=precision)


def _sheet(output: Path, run: restored.PictureRun, mask: MaskName, rows: list[tuple[str, Tensor]]) -> Sheet:
    originals, keep = run.pictures[:_SHEET_PICTURES], run.keep_masks(mask)[:_SHEET_PICTURES]
    grid = torch.stack([originals, torch.where(keep, originals, 0.0), *(found for _, found in rows)])
    pixels = ((grid.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 3, 1, 4, 2)
    pixels = pixels.reshape(pixels.shape[0] * pixels.shape[1], -1, pixels.shape[-1])
    Image.fromarray(pixels.squeeze(-1).numpy()).resize((pixels.shape[1] * 2, pixels.shape[0] * 2), 0).save(output / f"{mask}.png")
    return Sheet(mask, f"{mask}.png", ", ".join(["originals", "what was given", *(name for name, _ in rows)]))


def _print(scores: list[Score]) -> None:
    for part in dict.fromkeys(score.part for score in scores):
        mine = [score for score in scores if score.part == part and score.mask == EVERY_MASK]
        samplers = {score.sampler: score.nfe for score in mine}
        found = {(score.sampler, score.metric): f"{score.value:.4g}" for score in mine}
        table = Table("", *(f"{name}\n{nfe}" for name, nfe in samplers.items()), title=f"{part}, mean of all masks")
        for metric in dict.fromkeys(score.metric for score in mine):
            table.add_row(metric, *(found.get((name, metric), "") for name in samplers))
        Console().print(table)
