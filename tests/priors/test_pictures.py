"""Which pictures are trained on, and what batches are cut from them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.errors import ConfigError
from repaint_batch.priors.pictures import Crops, WholePictures, base_name, held_out, load_pictures, read_pictures, square
from repaint_batch.priors.train_config import CropConfig, TrainConfig


def config(folder: Path, **changes: object) -> TrainConfig:
    values: dict[str, object] = {"pictures": [str(folder)], "output": "out", "image_size_px": 16}
    return TrainConfig.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("1F468-1F3FB-200D-2708-FE0F.png", "1f468-200d-2708"),
        ("folder/1f468-1f3ff-200d-2708.webp", "1f468-200d-2708"),
        ("0023-fe0f-20e3.png", "0023-20e3"),
        ("1f3fb.png", ""),
        ("IMG_0012.jpg", "img_0012"),
        ("photos/Otters.native0.jpg", "otters"),
        ("otters.native12.jpg", "otters"),
        ("otters.natives.jpg", "otters.natives"),
    ],
)
def test_variants_share_a_base_name(name: str, base: str) -> None:
    assert base_name(name) == base


def names(settings: TrainConfig, split: str) -> list[str]:
    return sorted(Path(name).name for name, _ in read_pictures(settings, split))  # type: ignore[arg-type]


def test_every_picture_is_of_one_split(pictures: Path) -> None:
    settings = config(pictures, holdout_one_in=3)
    training, unseen = names(settings, "train"), names(settings, "held-out")
    assert sorted(training + unseen) == sorted(path.name for path in pictures.iterdir())
    assert unseen == [name for name in sorted(training + unseen) if held_out(name, 3)]
    assert training
    assert unseen
    assert load_pictures(settings)[1] == len(training)
    assert load_pictures(settings, "held-out")[1] == len(unseen)


def test_patterns_hold_out_a_photograph_with_all_its_crops_and_leave_others_unread(tmp_path: Path) -> None:
    for name in ("Pier", "Pier.native0", "Pier.native1", "otters", "mate-dune", "mate-dune.native0"):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{name}.jpg")
    settings = config(tmp_path, holdout_one_in=None, held_out=("PIER",), leave_out=("mate-*",))
    assert names(settings, "held-out") == ["Pier.jpg", "Pier.native0.jpg", "Pier.native1.jpg"]
    assert names(settings, "train") == ["otters.jpg"]
    everything = config(tmp_path, holdout_one_in=None, leave_out=("*",))
    with pytest.raises(ConfigError, match="every picture is left out of the train split"):
        load_pictures(everything)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no picture \(\.png"):
        load_pictures(config(tmp_path))


def test_whole_pictures_are_drawn_from_all(pictures: Path) -> None:
    found, count = load_pictures(config(pictures, holdout_one_in=None))
    assert isinstance(found, WholePictures)
    batch = found.batch(300, torch.Generator().manual_seed(0))
    drawn = {tuple(picture[0, 8].tolist()) for picture in batch}
    assert len(drawn) == count == 30
    assert -1 <= batch.min() < batch.max() <= 1


def test_pictures_from_parquet(pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.iterdir())
    values = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    pq.write_table(pa.table({"image": values}), tmp_path / "pictures.parquet")
    from_folder, _ = load_pictures(config(pictures))
    from_parquet, _ = load_pictures(config(tmp_path / "pictures.parquet"))
    assert torch.equal(from_folder.pixels, from_parquet.pixels)  # type: ignore[attr-defined]


def numbered(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Return pictures whose every pixel says which picture it is of, and where."""
    return [
        np.stack([np.full(shape, number), *np.indices(shape)], axis=-1).astype(np.uint8) for number, shape in enumerate(sizes)
    ]


SIZES = st.tuples(st.integers(8, 40), st.integers(8, 40))


@given(st.lists(st.lists(SIZES, min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_crops_are_squares_of_one_picture_perhaps_mirrored(levels: list[list[tuple[int, int]]], seed: int) -> None:
    sizes = [size for level in levels for size in level]
    pictures = iter(numbered(sizes))
    crops = Crops.of([[next(pictures) for _ in level] for level in levels], 8, False, torch.device("cpu"))
    batch = ((crops.batch(40, torch.Generator().manual_seed(seed)) + 1) * 127.5).round().long()
    for number, rows, columns in batch:
        assert (number == number[0, 0]).all()
        height, width = sizes[int(number[0, 0])]
        assert torch.equal(rows, rows[0, 0] + torch.arange(8)[:, None].expand(8, 8))
        step = 1 if columns[0, 1] > columns[0, 0] else -1
        assert torch.equal(columns, columns[0, 0] + step * torch.arange(8).expand(8, 8))
        assert 0 <= rows.min() <= rows.max() < height
        assert 0 <= columns.min() <= columns.max() < width


def test_scales_are_drawn_alike_pictures_by_their_area_and_places_up_to_every_edge() -> None:
    large, small = numbered([(40, 40), (8, 200)])
    crops = Crops.of([[large, small], [small]], 8, False, torch.device("cpu"))
    batch = ((crops.batch(4000, torch.Generator().manual_seed(0)) + 1) * 127.5).round().long()
    of_large = batch[:, 0, 0, 0] == 0
    assert of_large.float().mean() == pytest.approx(0.25, abs=0.03)
    rows = batch[of_large, 1]
    assert (int(rows.min()), int(rows.max())) == (0, 39)
    mirrored = batch[:, 2, 0, 1] < batch[:, 2, 0, 0]
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.03)


def test_crops_at_several_scales(pictures: Path) -> None:
    found, count = load_pictures(config(pictures, crops=CropConfig(scales=(1.0, 0.5, 0.1))))
    assert isinstance(found, Crops)
    assert sorted(set(found.height.tolist())) == [16, 20, 40], "never less than a crop"
    assert count > 20
    batch = found.batch(5, torch.Generator().manual_seed(0))
    assert batch.shape == (5, 3, 16, 16)
    assert torch.equal(batch, found.batch(5, torch.Generator().manual_seed(0)))
    aged, _ = load_pictures(config(pictures, crops=CropConfig(scales=(1.0, 0.5, 0.1), aged=True)))
    assert not torch.equal(batch, aged.batch(5, torch.Generator().manual_seed(0)))


def test_transparency_becomes_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (10, 4), (255, 0, 0, 0)).save(buffer, "PNG")
    assert np.asarray(square(Image.open(buffer), 8)).min() == 255
