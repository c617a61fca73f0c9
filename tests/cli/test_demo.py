"""The demo's corpus: held-out photographs that may be shown, exact damage, few windows."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import repaint_batch
from repaint_batch.config import ImagesConfig, load_config
from repaint_batch.damage.drawing import DAMAGE
from repaint_batch.images.restoration import prepare
from repaint_batch.priors.pictures import held_out
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.report.demo import KINDS

ROOT = Path(repaint_batch.__file__).parents[1]


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return pq.read_table(ROOT / "repaint_batch" / "assets" / "demo.parquet").to_pylist()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_three_pictures_of_every_kind_of_damage(rows: list[dict]) -> None:
    assert Counter(row["kind"] for row in rows) == dict.fromkeys(DAMAGE, 3)
    assert set(KINDS) == set(DAMAGE)
    assert len({row["sample_id"] for row in rows}) == 24


def test_none_was_trained_on_and_all_may_be_shown(rows: list[dict]) -> None:
    held = load_config(ROOT / "configs" / "prior-photo.yaml", TrainConfig).held_out
    for row in rows:
        photograph = row["sample_id"].partition("/")[2].rpartition("-")[0]
        assert held_out(f"{photograph}.jpg", None, held)
        assert row["credit"].endswith(("CC0", "public domain"))


def test_damage_is_in_the_hole_alone_and_asks_for_few_windows(rows: list[dict]) -> None:
    windows = 0
    for row in rows:
        hole = pixels(row["mask"]["bytes"])[..., 0] > 127
        damaged, original = pixels(row["image"]["bytes"]), pixels(row["original"])
        assert np.array_equal(damaged[~hole], original[~hole])
        assert (damaged[hole] != original[hole]).any()
        windows += len(prepare(row["image"]["bytes"], row["mask"]["bytes"], ImagesConfig(), 64).plan)
    assert windows <= 90, "what two cores restore in two minutes"
