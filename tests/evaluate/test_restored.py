"""The pictures part and the command, on a tiny random network."""

import csv
import json

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from repaint_batch.cli.evaluate import evaluate
from repaint_batch.config import PriorConfig, StorageConfig
from repaint_batch.errors import ConfigError
from repaint_batch.evaluate import restored
from repaint_batch.evaluate.features import perceptual
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.pictures import held_out
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.storage import Storage


@pytest.fixture(scope="module")
def prior_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    torch.manual_seed(0)
    UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
    ).save_pretrained(folder / "unet")
    DDPMScheduler().save_pretrained(folder / "scheduler")
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for i in range(200):
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def picture_run(prior_folder, pictures, batch_windows, **options):
    prior = load_prior(PriorConfig(source=str(prior_folder)), Storage(StorageConfig()))
    names, originals = restored.read_held_out(str(pictures), 16, 5)
    names = [name.rsplit("/", 1)[-1] for name in names]
    return restored.PictureRun(prior, names, originals, masks=("half", "wide"), batch_windows=batch_windows, **options)


def test_only_held_out_pictures_are_taken(pictures):
    names, originals = restored.read_held_out(str(pictures), 16, 5)
    assert len(names) == 5
    assert all(held_out(name, 20) for name in names)
    assert originals.shape == (5, 3, 16, 16)
    assert len(restored.read_held_out(str(pictures), 16, 500, every=True)[0]) == 200


def test_a_folder_without_held_out_pictures_is_refused(tmp_path):
    name = next(f"{i}.png" for i in range(99) if not held_out(f"{i}.png", 20))
    Image.new("RGB", (16, 16)).save(tmp_path / name)
    with pytest.raises(ConfigError, match="--every-picture"):
        restored.read_held_out(str(tmp_path), 16, 5)


def test_known_pixels_stay_and_seeds_differ(prior_folder, pictures):
    run = picture_run(prior_folder, pictures, 4)
    found = run.restore(AnnealedLangevin(3), "half")
    keep = run.keep_masks("half").expand_as(run.pictures)
    assert found.shape == (2, 5, 3, 16, 16)
    for one in found:
        assert torch.equal(one[keep], run.pictures[keep])
    assert not torch.equal(found[0], found[1])


def test_scores_of_every_metric_and_mask(prior_folder, pictures):
    run = picture_run(prior_folder, pictures, 4, lpips=lambda x, y: (x - y).abs().mean((1, 2, 3)))
    scores = list(restored.evaluate_pictures({"a": AnnealedLangevin(2)}, run))
    named = {metric.name for metric in restored.METRICS}
    for mask in ("half", "wide", "all"):
        assert {score.metric for score in scores if score.mask == mask} == named
    assert all(score.low <= score.high for score in scores)


def test_features_of_a_picture_do_not_depend_on_its_batch(prior_folder, pictures):
    features = picture_run(prior_folder, pictures, 4).features
    originals = restored.read_held_out(str(pictures), 16, 5)[1]
    for feature in features.values():
        torch.testing.assert_close(feature(originals)[3], feature(originals[3:4])[0], rtol=1e-5, atol=1e-6)


def test_one_seed_is_refused(prior_folder, pictures):
    with pytest.raises(ConfigError, match="--seeds"):
        picture_run(prior_folder, pictures, 4, seeds=1)


class SquaredMean(torch.nn.Module):
    def forward(self, x: torch.Tensor, resize_images: bool, return_lpips: bool) -> torch.Tensor:
        return x.mean(dim=[2, 3]) / 255


def test_lpips_comes_from_a_file(tmp_path):
    torch.jit.script(SquaredMean()).save(str(tmp_path / "net.pt"))
    distance = perceptual(tmp_path / "net.pt")
    x, y = torch.full((2, 3, 8, 8), -1.0), torch.full((2, 3, 8, 8), 1.0)
    assert distance(x, y).tolist() == pytest.approx([3.0, 3.0])
    (tmp_path / "bad.pt").write_bytes(b"no network")
    with pytest.raises(ConfigError, match=r"--lpips .*bad\.pt"):
        perceptual(tmp_path / "bad.pt")


def test_the_command_writes_page_and_figures(prior_folder, pictures, tmp_path):
    evaluate(
        tmp_path,
        pictures=str(pictures),
        prior=str(prior_folder),
        sampler=["draft"],
        law=["emoji"],
        count=4,
        samples=16,
        seeds=2,
        quick=True,
    )
    document = json.loads((tmp_path / "evaluation.json").read_text())
    rows = list(csv.DictReader((tmp_path / "evaluation.csv").open()))
    assert len(rows) == len(document["scores"])
    assert {row["part"] for row in rows} == {"law emoji", "pictures"}
    assert document["samplers"]["draft"]["nfe"] == 30
    page = (tmp_path / "evaluation.html").read_text()
    value = next(score["value"] for score in document["scores"] if (score["metric"], score["mask"]) == ("psnr", "all"))
    assert f"{value:.4g}" in page
    assert page.count("<svg") == 2
    assert (tmp_path / "half.png").stat().st_size > 0
    assert "<script" not in page


def test_the_command_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(ConfigError, match="paper, best, balanced"):
        evaluate(tmp_path, sampler=["slow"])
    with pytest.raises(ConfigError, match="wide, narrow"):
        evaluate(tmp_path, sampler=["draft"], mask=["left"])
    with pytest.raises(ConfigError, match="--pictures"):
        evaluate(tmp_path, skip_laws=True, sampler=["draft"])
