"""Mutated files through decoding, mask reading and encoding: ``python -m tests.images.fuzz MINUTES [FIRST]``.

A child restores one mutated file after the other; its parent notes when it dies, hangs or takes too much memory, and starts
another one behind the file that did it. What the child raises beyond `SampleError` would be a failed row, and is counted.
"""

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import SampleError
from repaint_batch.images.restoration import compose, prepare

from .odd_files import HEIGHT, MAKERS, WIDTH, Chosen, Drawn, png

CONFIG = ImagesConfig(max_pixels=10**6, max_bytes=2**22, frames="all")
MEMORY_BYTES = 6 * 2**30
SECONDS_A_FILE = 60
RESOLUTION = 32
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` with some bytes, numbers or parts of it changed."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        # Most of what a decoder believes stands at the beginning.
        reach = len(found) if rng.random() < 0.4 else min(len(found), 400)
        at = int(rng.integers(max(reach, 1)))
        kind = int(rng.integers(7))
        if kind <= 1:
            found[at : at + 1] = bytes([int(rng.integers(256))])
        elif kind == 2:
            size = int(rng.choice([1, 2, 4]))
            number = int(rng.choice(_EXTREMES)) & (256**size - 1)
            found[at : at + size] = number.to_bytes(size, rng.choice(["little", "big"]))
        elif kind == 3:
            end = at + int(rng.integers(1, 64))
            del found[at:end]
        elif kind == 4:
            end = at + int(rng.integers(1, 64))
            found[at:at] = found[at:end] * int(rng.integers(1, 5))
        elif kind == 5:
            del found[int(rng.integers(len(found) // 2, len(found) + 1)) :]
        else:
            other = int(rng.integers(max(reach, 1)))
            found[at : at + 16] = found[other : other + 16]
        if not found:
            return b""
    return bytes(found)


def tried(number: int) -> str:
    """Restore one mutated file, by one mask or another; return what became of it."""
    rng = np.random.default_rng([2026, number])
    make = Drawn(rng)
    odd = MAKERS[make("format", list(MAKERS))](make)
    image, mask = odd.data, _mask(rng)
    if rng.random() < 0.75:
        image = mutated(image, rng)
    else:
        mask = mutated(MAKERS[make("mask", list(MAKERS))](make).data, rng)
    try:
        prepared = prepare(image, mask, CONFIG, RESOLUTION)
        filled = np.full((len(prepared.plan), RESOLUTION, RESOLUTION, 3), 0.3, np.float32)
        compose(image, mask, filled, CONFIG, RESOLUTION, "source" if rng.random() < 0.8 else "png")
    except SampleError:
        return "refused"
    except Exception as error:  # a failed row, and worth a look
        print(f"file {number}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
        return f"unexpected {type(error).__name__}: {error}"[:200]
    return "restored"


def _mask(rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        shapes = {"boxes": [[int(v) for v in rng.integers(0, 48, 4)]], "polygons": [[[1, 2], [30, 2], [9, 33]]]}
        return mutated(json.dumps(shapes).encode(), rng) if rng.random() < 0.5 else json.dumps(shapes).encode()
    import cv2

    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[6:16, 8:20] = 255
    return cv2.imencode(".png", drawn)[1].tobytes()


def child(first: int, log: str) -> None:
    """Try files from `first` on until killed, each written down before and after."""
    warnings.simplefilter("ignore")
    png(Chosen({}))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with open(log, "a", buffering=1) as out:
        number = first
        while True:
            signal.alarm(SECONDS_A_FILE)  # ends the process: Python could not interrupt a decoder
            out.write(f"{number} ")
            out.write(tried(number).replace("\n", " ") + "\n")
            number += 1


def run(minutes: float, first: int = 0) -> tuple[Counter[str], list[tuple[int, str]]]:
    """Return how often what became of a file, and the numbers of files that ended a process or hung, with how."""
    counts: Counter[str] = Counter()
    fatal: list[tuple[int, str]] = []
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log")
            log.touch()
            code = f"from tests.images.fuzz import child; child({first}, {str(log)!r})"
            process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            lines = log.read_text().splitlines()
        for line in lines:
            number, _, word = line.partition(" ")
            first = int(number) + 1
            if word:
                counts[word] += 1
            elif process.returncode != -signal.SIGKILL:
                fatal.append((int(number), "hung" if process.returncode == -signal.SIGALRM else f"exit {process.returncode}"))
    return counts, fatal


if __name__ == "__main__":
    found, ended = run(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for word, count in found.most_common(60):
        print(f"{count:8} {word}")
    print(f"{sum(found.values())} files; fatal: {ended}")
    sys.exit(1 if ended else 0)
