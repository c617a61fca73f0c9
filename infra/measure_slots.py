"""Measure whether the device of a job is ever idle: ``python infra/measure_slots.py --cases a b c``.

    a   1,000 pictures of one window
    b   24 photographs of 12 megapixels with three scratches
    c   12 photographs of 12 megapixels with one object of 900 px to remove: drafts, many rounds
    d   64 photographs of 12 megapixels full of dust: memory

The device is a stand-in: a step takes 50 ms, asleep, whatever it is given, and computes nothing. All else, from Ray and
decoding to encoding and commits, is the real thing, on this machine's processors. Told are the share of slots that held a
window over calls, until the queue ran dry for the last time and in all; the share of the time between the first call and
the end of the last in which none was under way; what was said beforehand that it would take over what it took; and the most
that processes and Ray's object store held.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from repaint_batch.config import JobConfig  # noqa: E402
from repaint_batch.schema import IMAGE_STRUCT  # noqa: E402
from repaint_batch.storage import Storage  # noqa: E402
from tests.planting import when_imported  # noqa: E402

_STEP_S = 0.05
_SIDE_PX = 256
_PHOTO_PX = (4000, 3000)
_KINDS = {b"Inpainter": "inpainter", b"ReadUnitSource": "reader", b"Write": "writer"}


def stand_in() -> None:
    """See to it that in this process a device that sleeps and computes nothing takes the place of any prior and sampler."""
    when_imported("repaint_batch.sampler.slots", _compute_nothing)
    when_imported("repaint_batch.priors.loaded", _sleep)


def _sleep(module: Any) -> None:
    from repaint_batch.sampler.prior import Prediction

    def answer(self: Any, x_t: Any, t: Any) -> Any:
        time.sleep(_STEP_S)
        return Prediction(x_t)

    module.LoadedPrior.__call__ = answer


def _compute_nothing(module: Any) -> None:
    import torch

    blank: dict[Any, torch.Tensor] = {}

    def nothing(keys: torch.Tensor, draws: torch.Tensor, shape: Any) -> torch.Tensor:
        return blank.setdefault((len(keys), *shape), torch.zeros(len(keys), *shape))

    module.keyed_normal = nothing
    module.finish = lambda table, state, *rest: (state.x_t, state.x_t)


def photograph(seed: int, quality: int = 90) -> bytes:
    """Return a JPEG of 12 megapixels with forms and grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize(_PHOTO_PX, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (_PHOTO_PX[1], _PHOTO_PX[0], 1)).astype(np.float32)
    pixels = np.clip(np.asarray(coarse, np.float32) + grain, 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    return data.getvalue()


def mask(case: str, seed: int) -> bytes:
    """Return a mask of one of the cases, white where the hole is."""
    rng = np.random.default_rng(seed)
    size = (_SIDE_PX, _SIDE_PX) if case == "a" else _PHOTO_PX
    image = Image.new("1", size)
    draw = ImageDraw.Draw(image)
    if case == "a":
        draw.rectangle((100, 100, 140, 140), fill=1)
    elif case == "b":
        for _ in range(3):
            x, y = rng.integers(200, size[0] - 1200), rng.integers(200, size[1] - 800)
            draw.line((x, y, x + rng.integers(400, 1000), y + rng.integers(200, 600)), fill=1, width=6)
    elif case == "c":
        x, y = rng.integers(200, size[0] - 1200), rng.integers(200, size[1] - 1200)
        draw.ellipse((x, y, x + 900, y + 900), fill=1)
    else:
        for x, y in zip(rng.integers(0, size[0], 2000), rng.integers(0, size[1], 2000), strict=True):
            draw.ellipse((x, y, x + 4, y + 4), fill=1)
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def corpus(folder: Path, case: str) -> str:
    """Write a case's manifest and pictures, and return the manifest's path."""
    count = {"a": 1000, "b": 24, "c": 12, "d": 64}[case]
    path = folder / f"{case}.parquet"
    if path.exists():
        return str(path)
    if case == "a":
        data = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), np.uint8)).save(data, "JPEG")
        pictures = [{"bytes": data.getvalue(), "path": None}] * count
    else:
        for i in range(min(count, 6)):
            (folder / f"{case}{i}.jpg").write_bytes(photograph(i))
        pictures = [{"bytes": None, "path": f"{case}{i % 6}.jpg"} for i in range(count)]
    masks = [mask(case, i) for i in range(count if case != "a" else 1)]
    columns = {
        "sample_id": [f"{i:04d}" for i in range(count)],
        "image": pa.array(pictures, IMAGE_STRUCT),
        "mask": pa.array([{"bytes": masks[i % len(masks)], "path": None} for i in range(count)], IMAGE_STRUCT),
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


def prior(folder: Path) -> str:
    """Write an untrained prior of the windows' size, and return its folder."""
    from diffusers import DDPMScheduler, UNet2DModel

    where = folder / "prior"
    if not where.exists():
        blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 4}
        network = UNet2DModel(sample_size=_SIDE_PX, block_out_channels=(8, 8), layers_per_block=1, add_attention=False, **blocks)
        network.save_pretrained(where / "unet")
        DDPMScheduler().save_pretrained(where / "scheduler")
        index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
        (where / "model_index.json").write_text(json.dumps(index))
    return str(where)


def measure(folder: Path, case: str, batch: int, shard_rows: int) -> dict[str, Any]:
    """Run one case as a job in a process of its own, and return its figures."""
    job = {
        "input": {"manifest": corpus(folder, case)},
        "output": {"uri": str(folder / f"out-{case}-{batch}-{shard_rows}")},
        "prior": {"source": prior(folder)},
        "sampler": {"preset": "draft"},
        "images": {"max_windows": 4000},
        "compute": {"batch_windows": batch, "shard_rows": shard_rows, "actors": 1},
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, __file__, "--one", str(folder / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return {"case": case, "batch": batch, "shard_rows": shard_rows, **json.loads(done.stdout.splitlines()[-1])}


def run_one(path: str) -> None:
    """Run the job in a file under the stand-in, and print its figures as JSON."""
    import ray

    from repaint_batch.cli.jobs import starting
    from repaint_batch.jobs.usage import read_usage
    from repaint_batch.manifest import open_manifest
    from repaint_batch.pipeline.run import run_job
    from repaint_batch.preflight import Speed, cost_of, preflight

    config = JobConfig.model_validate_json(Path(path).read_text())
    env = {"worker_process_setup_hook": "measure_slots.stand_in", "env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=env,
        object_store_memory=512 * 2**20,
    )  # fmt: skip
    peaks = {"inpainter": 0, "reader": 0, "writer": 0, "store": 0}
    threading.Thread(target=_watch, args=(peaks,), daemon=True).start()
    started = time.monotonic()
    with starting(config) as begun:
        summary = run_job(config, begun)
    seconds = time.monotonic() - started
    ray.shutdown()
    (usage,) = read_usage(config.output.uri, summary.plan.job_id, Storage())
    found = preflight(config, open_manifest(config.input.manifest, Storage()), Storage(), resolution_px=_SIDE_PX)
    cost = cost_of(found, config, Speed(_STEP_S, usage.slots), _SIDE_PX)
    figures = {
        "slots_used_while_fed": usage.slots_used_while_fed,
        "slots_used": usage.slots_used,
        "device_waits": usage.waits,
        "calls": usage.calls,
        "said_calls": cost.calls / usage.calls,
        "said_seconds": (cost.gpu_hours or 0.0) * 3600 / usage.span_s,
        "seconds": seconds,
        **{f"{name}_peak_mib": size >> 20 for name, size in peaks.items()},
        **summary.counts,
    }
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}))


def _watch(peaks: dict[str, int]) -> None:
    """Note the most that a worker of Ray's holds by itself while it is what it says, and that the object store holds."""
    import ray

    while True:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                title = (status.parent / "cmdline").read_bytes()
                kind = next((kind for mark, kind in _KINDS.items() if title.startswith(b"ray::") and mark in title), None)
                if kind is None:
                    continue
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                own = int(lines["RssAnon"].split()[0]) << 10  # what it shares with the object store left out
                peaks[kind] = max(peaks[kind], own)
            except (OSError, KeyError):
                continue
        try:
            have, free = ray.cluster_resources(), ray.available_resources()
            peaks["store"] = max(peaks["store"], int(have["object_store_memory"] - free.get("object_store_memory", 0)))
        except Exception:
            return
        time.sleep(0.2)


def main() -> None:
    """Measure what the command line asks for, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["a", "b", "c"], choices=["a", "b", "c", "d"])
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 64])
    parser.add_argument("--shards", nargs="+", type=int, default=[8, 64])
    parser.add_argument("--folder", help="keeps the pictures for another time; outputs are not to be there yet")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run_one(asked.one)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or scratch
        for case in asked.cases:
            for batch in asked.batches:
                for shard_rows in asked.shards:
                    print(json.dumps(measure(Path(folder), case, batch, shard_rows)), flush=True)


if __name__ == "__main__":
    main()
