"""What a decode or encode worker may cost: memory and time for photographs of 12 megapixels.

Run with ``pytest -m slow -s``; the figures are printed.
"""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from repaint_batch.config import ImagesConfig
from repaint_batch.images.restoration import compose, prepare

from .corpus import saved

WIDTH, HEIGHT = 4000, 3000
CONFIG = ImagesConfig()
RESOLUTION = 256
ROWS = 64


def photograph_of_12_megapixels(seed: int) -> bytes:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, 8, (HEIGHT // 2, WIDTH // 2)).astype(np.float32).repeat(2, 0).repeat(2, 1)
    waves = [120 + 80 * np.sin(x / (30 + 20 * c) + seed) * np.cos(y / (90 - 20 * c)) + grain for c in range(3)]
    return saved(Image.fromarray(np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8)), "JPEG", quality=90)


def scratches_and_a_box() -> bytes:
    mask = Image.new("1", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(mask)
    draw.line([(200, 300), (2500, 2700)], fill=1, width=7)
    draw.rectangle((2600, 400, 2900, 650), fill=1)
    return saved(mask, "PNG")


def restore(image: bytes, mask: bytes) -> None:
    prepared = prepare(image, mask, CONFIG, RESOLUTION)
    compose(image, mask, prepared.windows, CONFIG, RESOLUTION, "source")


def shard(folder: str) -> None:
    """Restore a shard's rows one after the other and print the process's peak memory in MiB."""
    images = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    mask = Path(folder, "mask.png").read_bytes()
    for row in range(ROWS):
        restore(images[row % len(images)], mask)
    # Not getrusage's figure, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) // 1024)


@pytest.mark.slow
def test_a_shard_of_64_photographs_stays_under_a_gibibyte(tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"{seed}.jpg").write_bytes(photograph_of_12_megapixels(seed))
    (tmp_path / "mask.png").write_bytes(scratches_and_a_box())
    code = f"from tests.images.test_budget import shard; shard({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak = int(done.stdout)
    print(f"\npeak memory of a process that restored {ROWS} photographs of 12 megapixels: {peak} MiB")
    assert peak < 1024


@pytest.mark.slow
def test_time_against_pillow() -> None:
    image, mask = photograph_of_12_megapixels(0), scratches_and_a_box()

    def pillow() -> None:
        Image.open(io.BytesIO(image)).save(io.BytesIO(), "JPEG", quality="keep")

    def best(what, *args: bytes) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            what(*args)
            times.append(time.process_time() - start)
        return min(times)

    theirs, ours = best(pillow), best(restore, image, mask)
    print(f"\nPillow decode + encode {theirs:.3f} s; decode, window, decode, encode, proof {ours:.3f} s: {theirs / ours:.2f}")
    assert theirs / ours > 0.15
