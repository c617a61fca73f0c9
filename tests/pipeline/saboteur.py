"""Faults that a row can cause, planted in every worker process of the tests' cluster.

Ray runs `install` when a worker starts. From then on a picture that ends in KILL_DECODE kills the process that decodes it,
one that ends in KILL_LOOK the process that looks at it before the run, and a sample_id that begins with one of the other
marks does its harm when the actor takes up its windows. The kill is a real SIGKILL: nothing in the process gets to catch it.
"""

import os
import signal
import time
from typing import Any

from tests.planting import when_imported

KILL_DECODE, KILL_LOOK = b"KILL-DECODE", b"KILL-LOOK"
KILL_ACTOR, RAISE_IN_ACTOR, HANG_ACTOR = "kill-actor", "raise-in-actor", "hang-actor"
BAD_GPU = "bad-gpu"  # fails in actors on the second GPU of the cluster, whatever else the row holds


def install() -> None:
    """Plant the faults in this process."""
    from repaint_batch.pipeline import stages
    from repaint_batch.pipeline.packing import PackedWindows

    prepare, unpack = stages.prepare, PackedWindows.__init__

    def prepare_or_die(image: bytes, *arguments: Any) -> Any:
        if image.endswith(KILL_DECODE):
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(image, *arguments)

    def unpack_or_die(self: PackedWindows, row: dict[str, Any], resolution_px: int) -> None:
        name = row["sample_id"]
        if name.startswith(KILL_ACTOR):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith(RAISE_IN_ACTOR):
            raise RuntimeError("planted by the tests")
        if name.startswith(HANG_ACTOR):
            time.sleep(3600)
        if name.startswith(BAD_GPU) and os.environ.get("CUDA_VISIBLE_DEVICES") == "1":
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        unpack(self, row, resolution_px)

    stages.prepare = prepare_or_die
    PackedWindows.__init__ = unpack_or_die  # type: ignore[method-assign]
    # Not imported here: it takes torch along, and every worker of the tests would wait for that.
    when_imported("repaint_batch.preflight.looking", _plant_in)


def _plant_in(looking: Any) -> None:
    read_pages = looking.read_pages

    def read_or_die(image: bytes, *arguments: Any) -> Any:
        if image.endswith(KILL_LOOK):
            os.kill(os.getpid(), signal.SIGKILL)
        return read_pages(image, *arguments)

    looking.read_pages = read_or_die
