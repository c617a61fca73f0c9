"""Most memory that something takes."""

import contextlib
import resource
import sys
from pathlib import Path
from types import TracebackType

import torch


class PeakMemory:
    """Measures the peak while a block runs: of a CUDA device what torch has allocated, otherwise this process's resident set.

    Linux can forget an earlier peak of a process; elsewhere `peak_bytes` is the peak since the process started.

    Args:
        device: whose memory.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self.before_bytes = 0
        self.peak_bytes = 0

    def __enter__(self) -> "PeakMemory":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self.before_bytes = torch.cuda.memory_allocated(self._device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")
            self.before_bytes = _status_bytes("VmRSS")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        gpu = self._device.type == "cuda"
        self.peak_bytes = torch.cuda.max_memory_allocated(self._device) if gpu else _status_bytes("VmHWM")

    @property
    def grown_bytes(self) -> int:
        """How far the peak lies above what was taken before."""
        return self.peak_bytes - self.before_bytes


def _status_bytes(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
