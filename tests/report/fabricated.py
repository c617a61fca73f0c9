"""Results rows and reports made up for tests of the pages."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from repaint_batch.config import ImagesConfig
from repaint_batch.report.page import JobFacts
from repaint_batch.schema import RESULTS

EVIL = '"></script><script>document.title="owned"</script><img src=x onerror=\'document.title="owned"\'>'
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def result_row(number: int, status: str = "ok", **values: Any) -> dict[str, Any]:
    """Return a plausible results row; shards of eight rows alternate between two workers."""
    shard = number // 8
    ok = status == "ok"
    return {
        "sample_id": f"pictures/{number:05d}",
        "status": status,
        "error_class": "ImageInvalid" if status == "failed" else None,
        "reason": "picture: cannot be decoded (truncated)" if status == "failed" else None,
        "image_uri": f"s3://corpus/{number:05d}.png",
        "width_px": 32,
        "height_px": 32,
        "hole_fraction": 0.25 if ok else None,
        "windows": int(ok),
        "nfe": 230 * ok,
        "known_pixels_equal": True if ok else None,
        "seam_score": 1 + (number * 37 % 101) / 100 if ok else None,
        "risk": (number * 37 % 101) / 101 if ok else None,
        "risk_reason": "the hole is deep" if ok and number * 37 % 101 > 80 else None,
        "seed": 0,
        "decode_s": 0.01,
        "inpaint_s": 0.5 if ok else None,
        "encode_s": 0.01,
        "worker": f"node/{shard % 2}" if ok else None,
        "job_id": "0123456789abcdef",
        "shard": shard,
        "attempt": f"attempt-{shard}",
        "finished_at": START + timedelta(seconds=5 * (1 + shard // 2)),
        **values,
    }


def results(rows: list[dict[str, Any]], schema: pa.Schema = RESULTS) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)


def facts(rows: int) -> JobFacts:
    return JobFacts(
        output="s3://bucket/restored corpus",
        rows=rows,
        jobs=("0123456789abcdef",),
        prior="bundled:emoji",
        sampler="fast",
        images=ImagesConfig(),
    )


@dataclass(frozen=True)
class Written:
    """A report on disk.

    Attributes:
        url: its file:// URL.
        path: its path.
        rows: the rows it was made of.
    """

    url: str
    path: Path
    rows: list[dict[str, Any]]
