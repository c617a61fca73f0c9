"""Training from the command line."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from .conftest import ROOT


def test_keys_of_the_file_can_be_changed_for_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "jobs" / "train_prior.py"))["main"]
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    network = {"block_out_channels": [8, 16], "attention_px": [8], "attention_head_dim": 8, "norm_num_groups": 4}
    values = {"pictures": [str(tmp_path)], "output": str(tmp_path / "unused"), "image_size_px": 16, "network": network}
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({**values, "holdout_one_in": None, "steps": 1, "batch_size": 2}))
    main(str(file), [f"output={tmp_path / 'used'}", "batch_size=4", "crops={scales: [1.0], aged: true}"])
    logged = json.loads((tmp_path / "used" / "log.jsonl").read_text())
    assert (logged["step"], logged["batch_size"]) == (1, 4)
    assert not (tmp_path / "unused").exists()
    with pytest.raises(typer.Exit):
        main(str(file), ["batches=4"])
    assert "--set: batches: unknown key" in capsys.readouterr().err
