"""How costs grow with a corpus: planning it, and sampling it with a prior that costs next to nothing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from repaint_batch.config import InputConfig, JobConfig, OutputConfig
from repaint_batch.evaluate.memory import PeakMemory
from repaint_batch.jobs.plan import make_plan
from repaint_batch.manifest import open_manifest
from repaint_batch.priors.analytic import GaussianMixture
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.run import sample
from repaint_batch.storage import Storage

_GROUP_ROWS = 100_000
_BATCH_WINDOWS = 50  # divides every number of rows, so that none is padded
_SIDE_PX = 8


@dataclass(frozen=True)
class Growth:
    """What some rows cost.

    Attributes:
        rows: how many.
        seconds: wall-clock time.
        grown_bytes: how far memory rose above what the process had before.
    """

    rows: int
    seconds: float
    grown_bytes: int


def measure_planning(rows: int, folder: Path) -> Growth:
    """Return what opening and planning a manifest of `rows` URIs costs; the manifest is written to `folder` first."""
    path = folder / "manifest.parquet"
    _write_manifest(path, rows)
    pa.default_memory_pool().release_unused()
    config = JobConfig(input=InputConfig(manifest=str(path)), output=OutputConfig(uri=str(folder / "out")))
    with PeakMemory() as memory:
        started = time.perf_counter()
        plan = make_plan(config, open_manifest(config.input.manifest, Storage()), "0" * 16, PRESETS["fast"].describe())
        seconds = time.perf_counter() - started
    return Growth(plan.rows, seconds, memory.grown_bytes)


def _write_manifest(path: Path, rows: int) -> None:
    schema = pa.schema([("sample_id", pa.string()), ("image", pa.string()), ("mask", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, _GROUP_ROWS):
            numbers = pc.utf8_lpad(pa.array(range(start, min(start + _GROUP_ROWS, rows))).cast(pa.string()), 9, "0")
            columns = [pc.binary_join_element_wise(*parts, numbers, end, "") for *parts, end in _PARTS]
            writer.write_table(pa.table(columns, schema=schema))


_PARTS = (("sample-", ""), ("s3://corpus/pictures/", ".png"), ("s3://corpus/masks/", ".png"))


def measure_sampling(rows: Sequence[int]) -> list[Growth]:
    """Return what restoring each number of small pictures costs, with noise, masks and all, but an analytic prior."""
    means = torch.rand((12, 3, _SIDE_PX, _SIDE_PX), generator=torch.Generator().manual_seed(0)) * 2 - 1
    prior, sampler = GaussianMixture.isotropic(means, 0.1), PRESETS["draft"]
    costs = []
    for count in [_BATCH_WINDOWS, *rows]:  # the first warms up
        known = means.repeat(-(-count // len(means)), 1, 1, 1)[:count]
        keep = torch.ones(count, 1, _SIDE_PX, _SIDE_PX, dtype=torch.bool)
        keep[..., _SIDE_PX // 2 :] = False
        keys = [sample_key(0, str(number)) for number in range(count)]
        with PeakMemory() as memory:
            started = time.perf_counter()
            for start in range(0, count, _BATCH_WINDOWS):
                part = slice(start, start + _BATCH_WINDOWS)
                sample(sampler, prior, known[part], keep[part], keys[part])
            seconds = time.perf_counter() - started
        costs.append(Growth(count, seconds, memory.grown_bytes))
    return costs[1:]
