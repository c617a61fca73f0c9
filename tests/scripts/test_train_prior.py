"""Training from the command line."""

import json
import runpy
import signal
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from repaint_batch.config import load_config
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.priors.training import Trainer

from .conftest import ROOT


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    network = {"block_out_channels": [8, 16], "attention_px": [8], "attention_head_dim": 8, "norm_num_groups": 4}
    values = {"pictures": [str(tmp_path)], "output": str(tmp_path / "unused"), "image_size_px": 16, "network": network}
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({**values, "holdout_one_in": None, "steps": 1, "batch_size": 2}))
    return file


def test_keys_of_the_file_can_be_changed_for_one_run(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "jobs" / "train_prior.py"))["main"]
    main(str(settings), [f"output={tmp_path / 'used'}", "batch_size=4", "crops={scales: [1.0], aged: true}"])
    logged = json.loads((tmp_path / "used" / "log.jsonl").read_text())
    assert (logged["step"], logged["batch_size"]) == (1, 4)
    assert not (tmp_path / "unused").exists()
    with pytest.raises(typer.Exit):
        main(str(settings), ["batches=4"])
    assert "--set: batches: unknown key" in capsys.readouterr().err


def test_ctrl_c_is_answered_at_once_and_saves_what_there_is(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_by_signals = runpy.run_path(str(ROOT / "jobs" / "train_prior.py"))["stopped_by_signals"]
    before = signal.getsignal(signal.SIGINT)
    trainer = Trainer(load_config(str(settings), TrainConfig, ("steps=100000", "checkpoint_every=100000")), print)
    with stopped_by_signals(trainer):
        signal.raise_signal(signal.SIGINT)
        folder = trainer.run()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert 1 <= trainer.step < 100000
    assert (folder / "unet").is_dir()
    assert "stopping after this step; saving" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
