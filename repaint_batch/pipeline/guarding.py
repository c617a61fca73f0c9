"""What is raised in a stage: one row's fault, the job's, or the device's."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from repaint_batch.errors import RepaintBatchError, Stopped, StorageError, redact
from repaint_batch.pipeline.devices import Devices, Failure, is_of_device
from repaint_batch.pipeline.job import Job, Row

DEVICE_ERROR = "DeviceError"
"""Class of errors that are the device's, or of a row that makes a device fail: see `devices`."""
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
        died: rows [start, stop) that a stage worked on when its process died without a word.
        failures: rows that a process worked on when its device failed.
        devices: what is known of devices by now.
    """

    raised: list[Raised] = field(default_factory=list)
    died: list[tuple[int, int]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    devices: Devices = field(default_factory=Devices)


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
    watchdog = threading.Timer(job.deadline_s, lambda: os._exit(1))
    watchdog.daemon = True
    driver.began(start, stop)
    watchdog.start()
    raised = None
    try:
        yield
    except (Stopped, GeneratorExit):
        raise  # nobody's fault
    except Exception as error:
        kind = DEVICE_ERROR if is_of_device(error) else type(error).__name__
        raised = Raised(start, stop, kind, str(error)[-_MESSAGE_CHARACTERS:])
        if kind == DEVICE_ERROR:
            # Said first: a death without a word is held against the rows.
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
