"""Training by workers on Ray: the wiring; that they learn what one learns is shown in tests/priors."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from repaint_batch.errors import ConfigError
from repaint_batch.pipeline.shared_training import SharedTraining
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.priors.training import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_cores() -> Iterator[None]:
    """A cluster without GPUs."""
    root = str(Path(__file__).parents[2])
    small = {"object_store_memory": 160 * 2**20, "include_dashboard": False, "log_to_driver": False}
    ray.init("local", num_cpus=2, num_gpus=0, runtime_env={"env_vars": {"PYTHONPATH": root}}, **small)
    yield
    ray.shutdown()


def config(folder: Path, **changes: object) -> TrainConfig:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(folder / "picture.png")
    network = {"block_out_channels": [8, 16], "attention_px": [8], "attention_head_dim": 8, "norm_num_groups": 4}
    values = {"pictures": [str(folder / "picture.png")], "output": str(folder / "out"), "image_size_px": 16, "network": network}
    return TrainConfig.model_validate({**values, "holdout_one_in": None, "steps": 3, "batch_size": 4, "workers": 2, **changes})


@pytest.mark.usefixtures("two_cores")
def test_workers_train_say_how_far_they_are_and_leave_what_one_process_goes_on_from(tmp_path: Path) -> None:
    said: list[str] = []
    training = SharedTraining(config(tmp_path), said.append)
    folder = training.run()
    assert training.step == 3
    assert (folder / "unet").is_dir()
    assert sum("pictures," in line for line in said) == 1, "one of them speaks"
    alone = Trainer(config(tmp_path, workers=1, steps=4), print)
    assert alone.step == 3
    alone.run()
    logged = [json.loads(line)["step"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert logged == [3, 4]


@pytest.mark.usefixtures("two_cores")
def test_a_run_that_is_stopped_leaves_a_checkpoint(tmp_path: Path) -> None:
    training = SharedTraining(config(tmp_path, steps=100_000, checkpoint_every=100_000), lambda line: training.stop())
    training.run()
    assert 0 < training.step < 100_000
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"] == training.step


@pytest.mark.usefixtures("two_cores")
def test_what_is_wrong_with_the_settings_is_said_as_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"pictures: .*empty holds no picture"):
        SharedTraining(config(tmp_path, pictures=[str(tmp_path / "empty")]), print).run()
    with pytest.raises(ConfigError, match="workers: 4, but this machine has 2 cores"):
        SharedTraining(config(tmp_path, workers=4), print).run()
