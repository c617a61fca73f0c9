"""Train the detector of scratches and dust: ``python jobs/train_detector.py --config configs/detector.yaml``.

A run that was stopped goes on from its last checkpoint when it is started again. With ``--measure`` nothing is trained: the
weights that ship, or those named, are held against photographs that were not trained on. With ``--ship`` too, weights, log and
measured sensitivity are put into the package.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from repaint_batch.config import FindConfig, load_config
from repaint_batch.damage.detector import logits_of, marks_of, threshold_of
from repaint_batch.damage.measuring import as_prints, clean_of, f1_by_kind, films_found, overlays_found, sensitivity_of
from repaint_batch.damage.network import Detector, bundled, from_bytes
from repaint_batch.damage.training import DetectorConfig, DetectorTrainer
from repaint_batch.errors import RepaintBatchError

ASSETS = Path(__file__).parents[1] / "repaint_batch" / "assets" / "detector"


def main(
    config: Annotated[str, typer.Option(help="YAML file with the keys of DetectorConfig.")] = "configs/detector.yaml",
    measure: Annotated[bool, typer.Option("--measure", help="Measure and train nothing.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights to measure; by default those that ship.")] = None,
    ship: Annotated[bool, typer.Option("--ship", help="Put the weights measured into the package.")] = False,
) -> None:
    """Train, log, checkpoint and export the detector, or measure it."""
    try:
        settings = load_config(config, DetectorConfig)
        if measure:
            _measure(settings, weights, ship)
        else:
            typer.echo(f"weights written to {DetectorTrainer(settings, typer.echo).run()}")
    except RepaintBatchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _measure(settings: DetectorConfig, weights: Path | None, ship: bool) -> None:
    _measure_closed_forms(settings)
    network = from_bytes(weights.read_bytes() if weights else bundled())
    if ship:
        _ship(settings, network, weights)
    threshold = threshold_of(FindConfig(find=("scratches", "dust")).false_marks_per_megapixel)
    for name, value in f1_by_kind(settings, network, threshold).items():
        typer.echo(f"F1 {name:<40} {value:.3f}")
    torch.set_num_threads(1)
    twelve = np.zeros((3000, 4000, 3), np.uint8)
    began = time.process_time()
    marks_of(logits_of(twelve, network))
    typer.echo(f"12 megapixels searched in {time.process_time() - began:.1f} s on one core")
    for what, pictures in (("held-out photographs", settings.photographs("held-out")), ("textures", _textures())):
        clean = clean_of(as_prints(pictures), network, threshold)
        typer.echo(f"clean {what}: {clean.marked} of {clean.pictures} marked, {clean.share:.4%} of the area")


def _measure_closed_forms(settings: DetectorConfig) -> None:
    """Tell what is found without learning, in photographs that nothing was chosen on."""
    both = settings.model_copy(update={"held_out": settings.held_out + settings.leave_out, "leave_out": ()})
    whole = [(name, picture) for name, picture in both.photographs("held-out") if ".native" not in name]
    greys = [np.asarray(picture.convert("L")) for _, picture in whole]
    for contrast, frames in ((0.1, 24), (0.5, 1)):
        found, wrong = films_found([grey for grey in greys if grey.shape[0] >= 720 and grey.shape[1] >= 960], contrast, frames)
        typer.echo(f"transport, {contrast:g} of the grain, {frames} frames: {found} of 10 found, {wrong} lines that are none")
    ious, wrong = overlays_found(greys, 0.3)
    typer.echo(f"overlays of 30 %: IoU {min(ious):.2f} at least, {np.mean(ious):.2f} on average")
    typer.echo(f"corpora without an overlay: one found in {wrong} of 10")


def _ship(settings: DetectorConfig, network: Detector, weights: Path | None) -> None:
    ASSETS.mkdir(exist_ok=True)
    if weights:
        shutil.copyfile(weights, ASSETS / "weights.safetensors")
    log = Path(settings.output, "log.jsonl")
    if log.exists():
        shutil.copyfile(log, ASSETS / "training-log.jsonl")
    left_out = settings.model_copy(update={"held_out": settings.leave_out, "leave_out": settings.held_out})
    measured = sensitivity_of(as_prints(left_out.photographs("held-out")), network)
    (ASSETS / "sensitivity.json").write_text(json.dumps(measured, indent=1) + "\n")


def _textures() -> list[tuple[str, Image.Image]]:
    """Return scikit-image's pictures of grass, bricks, gravel, fur, text, print and stars; nothing without scikit-image."""
    try:
        from skimage import data
    except ImportError:
        return []
    names = ["grass", "brick", "gravel", "chelsea", "astronaut", "camera", "coffee", "coins", "rocket", "moon", "page", "text"]
    names.append("hubble_deep_field")
    return [(name, Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")) for name in names]


if __name__ == "__main__":
    typer.run(main)
