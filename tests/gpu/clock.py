"""Time, memory and waiting of a device; on a CPU the same calls, so that a rehearsal walks the same lines."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from .parts import Setting


def wait(setting: Setting) -> None:
    """Wait until the device has done what it was given."""
    if setting.is_cuda:
        torch.cuda.synchronize(setting.device)


def seconds_of(function: Callable[[], object], setting: Setting, *, repeats: int = 5, each: int = 1) -> float:
    """Return the median seconds of one of `each` calls, over `repeats` rounds after one that does not count."""
    found = []
    for number in range(repeats + 1):
        wait(setting)
        started = time.perf_counter()
        for _ in range(each):
            function()
        wait(setting)
        if number:
            found.append((time.perf_counter() - started) / each)
    return statistics.median(found)


def peak_bytes(setting: Setting) -> int:
    """Return the most memory that torch has held since this was last asked; 0 on a CPU."""
    if not setting.is_cuda:
        return 0
    found = torch.cuda.max_memory_reserved(setting.device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(setting.device)
    return found


@contextlib.contextmanager
def memory_for(extra_bytes: int, setting: Setting) -> Iterator[None]:
    """Within it torch may take so much memory beyond what it holds."""
    if not setting.is_cuda:
        yield
        return
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    share = (torch.cuda.memory_reserved(setting.device) + extra_bytes) / total
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0), setting.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, setting.device)


@contextlib.contextmanager
def no_waiting(setting: Setting) -> Iterator[None]:
    """Within it every wait for the device is an error."""
    if not setting.is_cuda:
        yield
        return
    wait(setting)
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
