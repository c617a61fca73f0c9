"""The prints part: held-out crops, the same damage for every method, paired gains; on a tiny random network."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from repaint_batch.cli.evaluate import evaluate
from repaint_batch.config import PriorConfig
from repaint_batch.errors import ConfigError
from repaint_batch.evaluate import prints
from repaint_batch.evaluate.imagenet import lite0_distance
from repaint_batch.evaluate.rivals import RIVALS
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.storage import Storage

from ..corpus import save_tiny_prior

TRAINING = TrainConfig(pictures=("x",), output="y", holdout_one_in=None, held_out=("lake*",))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rows, columns = np.mgrid[:60, :90]
    for number, name in enumerate(["lake", "lake.native0", "hill", "lakes-by-somebody"]):
        waves = 128 + 90 * np.sin((rows + 3 * number) / 9) * np.cos(columns / (7 + number))
        Image.fromarray(np.stack([waves, waves * 0.8, 255 - waves], axis=-1).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> RePaintPipeline:
    folder = save_tiny_prior(tmp_path_factory.mktemp("prior") / "prior")
    return RePaintPipeline.from_prior(load_prior(PriorConfig(source=str(folder)), Storage()))


def test_crops_are_of_held_out_photographs_alone_and_always_the_same(photos: Path) -> None:
    names, crops = prints.read_crops(str(photos), 40, 9, training=TRAINING)
    assert names == ["lake.native0.png", "lake.png", "lakes-by-somebody.png"]
    assert all(crop.shape == (40, 40, 3) for crop in crops)
    again = prints.read_crops(str(photos), 40, 9, training=TRAINING)[1]
    assert all(np.array_equal(one, other) for one, other in zip(crops, again, strict=True))
    assert len(prints.read_crops(str(photos), 40, 9, every=True)[0]) == 4
    with pytest.raises(ConfigError, match="--training"):
        prints.read_crops(str(photos), 40, 9, training=TRAINING.model_copy(update={"held_out": ()}))


def test_every_method_meets_the_same_damage_and_gains_are_over_the_best_rival(photos: Path, pipeline: RePaintPipeline) -> None:
    names, crops = prints.read_crops(str(photos), 40, 9, training=TRAINING)
    rivals = {name: RIVALS[name] for name in ("telea", "navier-stokes")}
    run = prints.PrintRun(pipeline, names, crops, rivals, lambda x, y: (x - y).square().mean((1, 2, 3)), ("stamp", "torn"))
    seen: dict[tuple[str, str], list[np.ndarray]] = {}
    scores = list(prints.evaluate_prints(["draft"], run, show=lambda *one: seen.update({one[:2]: one[2]})))
    for (_, kind), found in seen.items():
        for number, restored in enumerate(found):
            hole = run.damage(kind, number).hole  # type: ignore[arg-type]
            assert np.array_equal(restored[~hole], crops[number][~hole])
    value = {(score.sampler, score.mask, score.metric): score.value for score in scores}
    for kind in ("stamp", "torn"):
        best = max(value[rival, kind, "psnr"] for rival in rivals)
        assert value["draft", kind, "gain"] == pytest.approx(value["draft", kind, "psnr"] - best, abs=1e-4)
        assert value["draft", kind, "psnr_mean"] > value["draft", kind, "psnr"], "a mean is nearer than what it is the mean of"
    assert {score.metric for score in scores} == {metric.name for metric in prints.METRICS}
    assert {score.nfe for score in scores if score.sampler in rivals} == {0}


def test_the_perceptual_distance_is_nought_of_the_same_and_grows_with_damage() -> None:
    distance = lite0_distance()
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, 0.3, (2, 3, 64, 64)).cumsum(axis=3).clip(-1, 1)).float()
    noise = torch.from_numpy(rng.normal(0, 1, x.shape)).float()
    assert distance(x, x).tolist() == [0, 0]
    near, far = distance(x, x + 0.02 * noise), distance(x, x + 0.2 * noise)
    assert (near > 0).all()
    assert (far > 2 * near).all()


def test_the_command_writes_a_table_with_rivals(photos: Path, tmp_path: Path) -> None:
    prior = save_tiny_prior(tmp_path / "prior")
    evaluate(
        tmp_path / "judged",
        pictures=str(photos),
        prior=str(prior),
        sampler=["draft"],
        mask=["object"],
        every_picture=True,
        skip_laws=True,
        damage=True,
        quick=True,
        count=2,
        rival=["telea"],
        training=None,
    )
    rows = list(csv.DictReader((tmp_path / "judged" / "evaluation.csv").open()))
    assert {row["sampler"] for row in rows} == {"telea", "draft"}
    assert {row["mask"] for row in rows} == {"object", "all"}
    assert json.loads((tmp_path / "judged" / "evaluation.json").read_text())["settings"]["count"] == 2
    assert (tmp_path / "judged" / "object.png").stat().st_size > 0
    with pytest.raises(ConfigError, match="--damage --mask wide: not one of scratches"):
        evaluate(tmp_path, pictures=str(photos), damage=True, mask=["wide"], sampler=["draft"], skip_laws=True)
