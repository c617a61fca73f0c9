"""Which devices are to be trusted, told from what happens on them.

After a sticky CUDA error (ECC, XID, an illegal address) nothing in a process succeeds any more: it ends, and what it worked on
dies with it. Either one of those rows is to blame, or the device. A device that fails twice running, with no row in common and
nothing brought home in between, fails with whatever it is given: it is bad, and what died on it is not to blame.
"""

import re
from dataclasses import dataclass, field

from repaint_batch.table.ranges import Ranges

_STICKY = re.compile(r"CUDA (driver )?error|cuDNN error|CUBLAS_STATUS|CUDNN_STATUS|Triton Error \[CUDA\]", re.IGNORECASE)


def is_of_device(error: Exception) -> bool:
    """Return whether an error says that a process can use its device no more."""
    return _STICKY.search(str(error)) is not None


@dataclass(frozen=True)
class Failure:
    """Rows that a device failed with."""

    device: str
    rows: Ranges


@dataclass
class Devices:
    """What a job has learned of its devices.

    Attributes:
        seen: all that have asked for work.
        proven: those that have brought something home.
        message: what the last failure said.
    """

    seen: set[str] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)
    message: str = ""
    _running: dict[str, list[Ranges]] = field(default_factory=dict)

    def worked(self, device: str) -> None:
        """Note that a device has brought something home."""
        self.seen.add(device)
        self.proven.add(device)
        if device not in self.bad:
            self._running.pop(device, None)

    def failed(self, device: str, rows: Ranges, message: str) -> None:
        """Note that a device has failed with these rows."""
        self.seen.add(device)
        self._running.setdefault(device, []).append(rows)
        self.message = message

    @property
    def bad(self) -> frozenset[str]:
        """Devices that fail with whatever they are given; once bad, for the whole job."""
        return frozenset(device for device, failures in self._running.items() if not _common(failures))

    def others(self, out: frozenset[str] = frozenset()) -> set[str]:
        """Return the devices that are neither bad nor among `out`."""
        return self.seen - self.bad - out


def _common(failures: list[Ranges]) -> Ranges:
    common = failures[0]
    for rows in failures[1:]:
        common = common & rows
    return common
