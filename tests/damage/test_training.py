"""Training of the detector: crops say what is in them, the loss falls, a run goes on where it ended."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repaint_batch.damage.network import from_bytes
from repaint_batch.damage.synthetic import LEAST_CONTRAST, Marks, damaged_crop, training_crop
from repaint_batch.damage.training import DetectorConfig, DetectorTrainer, f1_of, pixel_counts


@pytest.mark.parametrize("seed", range(6))
def test_marks_show_where_they_are_said_to_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground = np.full((96, 96, 3), 120, np.float32)
    crop = damaged_crop(ground, 2, 3, rng, Marks((1.5, 4), (2, 4), (60, 100)))
    marked = crop.marked.any(0)
    assert marked.any()
    changed = np.abs(crop.pixels.astype(float) - 120).mean(2)
    assert changed[marked].mean() > LEAST_CONTRAST
    assert changed[~marked & crop.counts].mean() < 12  # grain


def test_half_of_the_crops_are_clean_and_all_are_of_one_size() -> None:
    rng = np.random.default_rng(0)
    photograph = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    crops = [training_crop(photograph, rng) for _ in range(60)]
    assert 0.2 < np.mean([not crop.marked.any() for crop in crops]) < 0.7
    assert {crop.pixels.shape for crop in crops} == {(64, 64, 3)}


def test_f1_allows_three_pixels() -> None:
    true = np.zeros((40, 40), bool)
    true[20, 5:35] = True
    assert f1_of(pixel_counts(np.roll(true, 3, axis=0), true)) == 1
    assert f1_of(pixel_counts(np.roll(true, 5, axis=0), true)) == 0
    assert f1_of(pixel_counts(true[:, ::-1] & False, true)) == 0


def test_a_run_goes_on_and_its_weights_can_be_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "held"):
        Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    config = DetectorConfig(
        pictures=(str(tmp_path),), output=str(tmp_path / "out"), held_out=("held",), scales=(1.0,), crop_px=32, batch_size=2,
        steps=1, checkpoint_every=1, held_out_crops=2,
    )  # fmt: skip
    DetectorTrainer(config, lambda line: None).run()
    said: list[str] = []
    weights = DetectorTrainer(config.model_copy(update={"steps": 2}), said.append).run()
    assert said[0] == "going on from step 1"
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 2
    assert from_bytes(weights.read_bytes())
