"""What is raised in a stage: one row's fault, the job's, or the device's."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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


@contextlib.contextmanager
def told(job: Job, start: int, stop: int, tell: Callable[[Raised], None]) -> Iterator[None]:
    """Work on rows [start, stop) of a job: what is raised is told to the driver, and a deadline ends the process.

    A thread cannot end a decoder or a kernel that hangs, and after a sticky CUDA error no call in the process succeeds
    any more; the process can end itself, and Ray starts another.
    """
    watchdog = threading.Timer(job.config.compute.shard_deadline_s, lambda: os._exit(1))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Stopped:
        raise  # nobody's fault
    except Exception as error:
        if "CUDA error" in str(error):
            # Said first: a device that fails is not to be held against the row that it was given.
            tell(Raised(start, stop, DEVICE_ERROR, str(error)[-_MESSAGE_CHARACTERS:]))
            os._exit(1)
        tell(Raised(start, stop, type(error).__name__, str(error)[-_MESSAGE_CHARACTERS:]))
        raise
    finally:
        watchdog.cancel()


@contextlib.contextmanager
def guarded(row: Row, seconds: str) -> Iterator[None]:
    """Time what is done to a row; what it raises becomes the row's failure and nobody else's, unless the store is to blame."""
    started = time.perf_counter()
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # strangers' bytes reach decoders here: any error is this row's alone
        row["status"], row["error_class"] = "failed", type(error).__name__
        known = isinstance(error, RepaintBatchError)
        row["reason"] = redact(str(error) if known else f"unexpected {type(error).__name__}: {error}")
    row[seconds] = time.perf_counter() - started
