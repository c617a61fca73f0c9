"""Training on somebody's own pictures: what is held out, that a killed run goes on, that the prior it writes is usable."""

import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from repaint_batch.config import CropConfig, NetworkConfig, PriorConfig, TrainConfig
from repaint_batch.errors import ConfigError
from repaint_batch.priors.load import load_prior
from repaint_batch.priors.pictures import base_name, held_out, load_pictures, square
from repaint_batch.priors.training import Trainer, learning_rate_at
from repaint_batch.storage import Storage

TINY = NetworkConfig(block_out_channels=(8, 16), attention_px=(8,), attention_head_dim=8, norm_num_groups=4)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / f"{number:02d}.png")
    return folder


def config(pictures: Path, output: Path, **changes: object) -> TrainConfig:
    values: dict[str, object] = {
        "pictures": [str(pictures)],
        "output": str(output),
        "image_size_px": 16,
        "network": TINY,
        "steps": 6,
        "batch_size": 4,
        "warmup_steps": 2,
        "checkpoint_every": 2,
    }
    return TrainConfig.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("1F468-1F3FB-200D-2708-FE0F.png", "1f468-200d-2708"),
        ("folder/1f468-1f3ff-200d-2708.webp", "1f468-200d-2708"),
        ("0023-fe0f-20e3.png", "0023-20e3"),
        ("1f3fb.png", ""),
        ("IMG_0012.jpg", "img_0012"),
    ],
)
def test_variants_share_a_base_name(name: str, base: str) -> None:
    assert base_name(name) == base


def test_held_out_pictures_are_never_read(pictures: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in pictures.iterdir())
    _, count = load_pictures(config(pictures, tmp_path, holdout_one_in=3))
    assert count == sum(not held_out(name, 3) for name in names)
    assert 0 < count < len(names)


def test_a_killed_run_ends_where_an_uninterrupted_one_does(pictures: Path, tmp_path: Path) -> None:
    said: list[str] = []
    Trainer(config(pictures, tmp_path / "whole"), said.append).run()
    # Both halves must see the learning rates of the whole: stop after four of six steps as a kill would.
    killed = Trainer(config(pictures, tmp_path / "killed"), said.append)
    killed._advance(load_pictures(killed.config)[0], 4)
    del killed
    folder = Trainer(config(pictures, tmp_path / "killed"), said.append).run()
    assert any("going on from step 4" in line for line in said)
    whole, resumed = (
        load_prior(PriorConfig(source=str(tmp_path / name / "prior")), Storage()).network.state_dict()
        for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (folder / "README.md").read_text().startswith("# prior\n")
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4, 6]
    assert all(entry["loss"] > 0 for entry in log)
    assert Image.open(tmp_path / "whole" / "samples-000006.png").size == (64, 64)


def test_the_loss_falls(pictures: Path, tmp_path: Path) -> None:
    settings = config(pictures, tmp_path, steps=60, learning_rate=3e-3, checkpoint_every=10)
    Trainer(settings, lambda line: None).run()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]


def test_another_training_does_not_go_on_from_this_checkpoint(pictures: Path, tmp_path: Path) -> None:
    Trainer(config(pictures, tmp_path, steps=2), lambda line: None).run()
    with pytest.raises(ConfigError, match="belongs to another training"):
        Trainer(config(pictures, tmp_path, image_size_px=32), lambda line: None)
    assert Trainer(config(pictures, tmp_path, steps=4), lambda line: None).step == 2, "a run may be made longer"


def test_crops_at_several_scales(pictures: Path, tmp_path: Path) -> None:
    found, count = load_pictures(config(pictures, tmp_path, crops=CropConfig(scales=(1.0, 0.5))))
    assert count > 20
    batch = found.batch(5, torch.Generator().manual_seed(0))
    assert batch.shape == (5, 3, 16, 16)
    assert -1 <= batch.min() < -0.5 < 0.5 < batch.max() <= 1
    assert torch.equal(batch, found.batch(5, torch.Generator().manual_seed(0)))


def test_training_on_from_a_prior_of_another_size(pictures: Path, tmp_path: Path) -> None:
    first = Trainer(config(pictures, tmp_path / "first"), print).run()
    larger = config(pictures, tmp_path / "second", init_from=str(first), image_size_px=32, crops=CropConfig(scales=(1.0,)))
    start = Trainer(larger, print)
    theirs = load_prior(PriorConfig(source=str(first)), Storage()).network.state_dict()
    for name, mine in start.network.named_parameters():
        assert torch.equal(mine, theirs[name])
        assert mine.requires_grad
    second = start.run()
    size = load_prior(PriorConfig(source=str(second)), Storage()).resolution_px
    assert size == 32, "windows are cut in the size that it was trained on now"
    assert str(tmp_path) not in (second / "unet" / "config.json").read_text()
    with pytest.raises(ConfigError, match="image_size_px: 17 cannot be halved 1 times"):
        Trainer(larger.model_copy(update={"image_size_px": 17, "output": str(tmp_path / "third")}), print)


def test_pictures_from_parquet(pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.iterdir())
    values = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    pq.write_table(pa.table({"image": values}), tmp_path / "pictures.parquet")
    from_folder, _ = load_pictures(config(pictures, tmp_path))
    from_parquet, _ = load_pictures(config(tmp_path / "pictures.parquet", tmp_path))
    assert torch.equal(from_folder.pixels, from_parquet.pixels)


def test_no_pictures_and_impossible_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no picture \(\.png"):
        load_pictures(config(tmp_path, tmp_path))
    with pytest.raises(ConfigError, match="17 cannot be halved 1 times"):
        Trainer(config(tmp_path, tmp_path / "out", image_size_px=17))


def test_transparency_becomes_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (10, 4), (255, 0, 0, 0)).save(buffer, "PNG")
    assert np.asarray(square(Image.open(buffer), 8)).min() == 255


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    settings = TrainConfig(pictures=("x",), output="y", steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))
