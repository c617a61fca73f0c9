"""The command line of `python -m tests.gpu`."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from . import __doc__ as about
from .checks import (
    auto_batch,
    golden,
    half,
    independence,
    independence_compiled,
    memory,
    neighbours,
    no_waits,
    noise,
    rounding,
    second_device,
)
from .figures import (
    job,
    layouts,
    layouts_compiled,
    machine,
    profiled,
    rival,
    steps_eager,
    steps_faces,
    steps_guided,
    steps_guided_compiled,
    steps_photo,
)
from .networks import compiled, full_slots, prior_named
from .parts import Found, Part, Setting, run_parts

_HELPERS: "list[subprocess.Popen[bytes]]" = []


def compilers(setting: Setting) -> Iterator[Found]:
    """Wait for the processes that compile beforehand, since they would disturb what is timed from here on."""
    started = time.monotonic()
    for helper in _HELPERS:
        code = helper.wait()
        yield Found("compiled beforehand: exit code", code, ok=code == 0)
    yield Found("waited for compilers", time.monotonic() - started, "s")



PARTS = (
    Part(machine, 20),
    Part(noise, 40),
    Part(golden, 30),
    Part(independence, 40),
    Part(no_waits, 20),
    Part(rounding, 30),
    Part(memory, 40),
    Part(compilers, 90),
    Part(steps_eager, 60),
    Part(steps_faces, 100),
    Part(rival, 60),
    Part(steps_photo, 60),
    Part(independence_compiled, 80),
    Part(profiled, 30),
    Part(steps_guided, 40),
    Part(layouts, 30),
    Part(auto_batch, 40),
    Part(neighbours, 60),
    Part(second_device, 30),
    Part(job, 90),
    Part(steps_guided_compiled, 90),
    Part(layouts_compiled, 150),
)
"""In order of worth."""

_BEFOREHAND = (("faces", 16), ("photo", 4), ("photo", 64), ("faces", 64), ("guided", 16))
"""What other processes compile into the cache meanwhile, so that few seconds of the parts go into it."""


def main() -> int:
    """Run the parts that were asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=about)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--tiny", action="store_true", help="small networks and few repeats: a rehearsal")
    parser.add_argument("--no-compile", action="store_true", help="leave out what takes a compiler")
    parser.add_argument("--output", type=Path, default=Path("gpu-proof"), help="folder for results")
    parser.add_argument("--minutes", type=float, default=6.0, help="longest that all parts may take")
    parser.add_argument("--only", nargs="*", metavar="PART", help=", ".join(part.name for part in PARTS))
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--after", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("there is no CUDA device; --device cpu --tiny rehearses without one", file=sys.stderr)
        return 2
    if given.device == "cuda":
        given.device = "cuda:0"
    until = given.until or time.time() + 60 * given.minutes
    setting = Setting(torch.device(given.device), given.tiny, not given.no_compile, given.output, until)
    if given.child:
        _be(given.child, setting)
        return 0
    names = [part.name for part in PARTS]
    unknown = set(given.only or ()) - set(names)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    first = names.index(given.after) + 1 if given.after else 0
    parts = [part for part in PARTS[first:] if not given.only or part.name in given.only]
    if not (first or given.tiny or given.no_compile or given.only):
        _HELPERS.extend(_beforehand(given.device))
    try:
        return 0 if run_parts(parts, setting, lambda done: _again(done, until)) else 1
    finally:
        for helper in _HELPERS:
            helper.kill()


def _be(what: str, setting: Setting) -> None:
    """Be another process: one that compiles, or one of the checks' own."""
    if what == "half":
        half(setting)
        return
    _, name, count = what.split(":")
    full_slots(compiled(prior_named(name, setting)), int(count), setting, recorded=False)


def _beforehand(device: str) -> "list[subprocess.Popen[bytes]]":
    command = [sys.executable, "-m", "tests.gpu", "--device", device, "--child"]
    return [subprocess.Popen([*command, f"compile:{name}:{count}"]) for name, count in _BEFOREHAND]


def _again(done: str, until: float) -> None:
    """Start this process anew behind a part after which the device was lost."""
    os.execv(sys.executable, [sys.executable, "-m", "tests.gpu", *sys.argv[1:], "--after", done, "--until", str(until)])


if __name__ == "__main__":
    sys.exit(main())
