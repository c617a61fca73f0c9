"""Small corpora and a small prior for tests: real pictures, a real network, little work."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from repaint_batch.config import JobConfig
from repaint_batch.schema import IMAGE_STRUCT

from .conftest import Place

SIZE_PX = 16


def save_tiny_prior(folder: Path) -> str:
    """Write an untrained UNet2DModel of 16 px in diffusers' layout; return its folder."""
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=SIZE_PX,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=4,
    )
    network.save_pretrained(folder / "unet")
    DDPMScheduler(beta_schedule="linear").save_pretrained(folder / "scheduler")
    return str(folder)


def encoded(pixels: np.ndarray, image_format: str = "PNG") -> bytes:
    """Return an encoded picture."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def picture(number: int, size_px: int = SIZE_PX) -> np.ndarray:
    """Return a smooth (H, W, 3) uint8 picture, different for every number."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((size_px, size_px), Image.Resampling.BICUBIC))


def hole(number: int, size_px: int = SIZE_PX) -> np.ndarray:
    """Return an (H, W) uint8 mask, white = hole: a box that moves with the number."""
    mask = np.zeros((size_px, size_px), dtype=np.uint8)
    top, left = number % (size_px // 2), number // 2 % (size_px // 2)
    mask[top : top + size_px // 2, left : left + size_px // 2] = 255
    return mask


def rows(count: int) -> list[dict[str, Any]]:
    """Return manifest rows with pictures inside and one column of the owner's own."""
    return [
        {
            "sample_id": f"picture-{number:04d}",
            "image": {"bytes": encoded(picture(number)), "path": None},
            "mask": {"bytes": encoded(hole(number)), "path": None},
            "note": f"note {number}",
        }
        for number in range(count)
    ]


def write_manifest(place: Place, manifest_rows: list[dict[str, Any]], name: str = "manifest.parquet") -> str:
    """Write a manifest of struct rows at `place`; return its URI."""
    schema = pa.schema([
        ("sample_id", pa.string()),
        ("image", IMAGE_STRUCT),
        ("mask", IMAGE_STRUCT),
        ("note", pa.string()),
    ])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(manifest_rows, schema=schema), buffer, row_group_size=16)
    uri = f"{place.uri}/{name}"
    place.storage.write(uri, buffer.getvalue())
    return uri


def job(place: Place, manifest: str, prior: str, folder: str = "out", **sections: dict[str, Any]) -> JobConfig:
    """Return a job over `manifest` with the tiny prior; `sections` add to or replace settings."""
    values: dict[str, Any] = {
        "input": {"manifest": manifest},
        "output": {"uri": f"{place.uri}/{folder}"},
        "prior": {"source": prior},
        "sampler": {"preset": "draft"},
        "compute": {"shard_rows": 4, "batch_windows": 4, "num_gpus": 0, "actors": 1},  # each actor takes seconds to start
        "storage": place.config.model_dump(),
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return JobConfig.model_validate(values)
