"""What is raised in a stage: one row's fault, the job's, or the device's."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from repaint_batch.errors import RepaintBatchError, Stopped, StorageError, redact
from repaint_batch.pipeline.job import Job, Row

DEVICE_ERROR = "DeviceError"
_MESSAGE_CHARACTERS = 4000


@dataclass(frozen=True)
class Raised:
    """What an attempt at rows [start, stop) raised."""

    start: int
    stop: int
    error_class: str
    message: str


@dataclass(frozen=True)
class Heard:
    """What the driver has heard of a pass.

    Attributes:
        raised: by attempts that lived to say so.
        died: rows [start, stop) that a stage worked on when its process died.
    """

    raised: list[Raised]
    died: list[tuple[int, int]]


class Listening(Protocol):
    """Whoever is told what a stage works on."""

    def began(self, start: int, stop: int) -> None:
        """Hear that work on rows [start, stop) begins."""

    def ended(self, start: int, stop: int, raised: Raised | None = None) -> None:
        """Hear that it has ended, and what it raised."""


@contextlib.contextmanager
def told(job: Job, start: int, stop: int, driver: Listening) -> Iterator[None]:
    """Work on rows [start, stop) of a job: the driver is told of it and of what is raised, and a deadline ends the process.

    A thread cannot end a decoder or a kernel that hangs, and after a sticky CUDA error no call in the process succeeds
    any more; the process can end itself, and Ray starts another.
    """
    watchdog = threading.Timer(job.config.compute.shard_deadline_s, lambda: os._exit(1))
    watchdog.daemon = True
    driver.began(start, stop)
    watchdog.start()
    raised = None
    try:
        yield
    except (Stopped, GeneratorExit):
        raise  # nobody's fault
    except Exception as error:
        is_device = "CUDA error" in str(error)
        kind = DEVICE_ERROR if is_device else type(error).__name__
        raised = Raised(start, stop, kind, str(error)[-_MESSAGE_CHARACTERS:])
        if is_device:
            # Said first: a device that fails is not to be held against the row that it was given.
            driver.ended(start, stop, raised)
            os._exit(1)
        raise
    finally:
        watchdog.cancel()
        driver.ended(start, stop, raised)


@contextlib.contextmanager
def guarded(row: Row, seconds: str) -> Iterator[None]:
    """Time what is done to a row; what it raises becomes the row's failure and nobody else's, unless the store is to blame."""
    started = time.perf_counter()
    try:
        yield
    except (StorageError, Stopped):
        raise
    except Exception as error:  # strangers' bytes reach decoders here: any error is this row's alone
        row["status"], row["error_class"] = "failed", type(error).__name__
        known = isinstance(error, RepaintBatchError)
        row["reason"] = redact(str(error) if known else f"unexpected {type(error).__name__}: {error}")
    row[seconds] = time.perf_counter() - started
