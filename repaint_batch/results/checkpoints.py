"""Checkpoints of a table's log, written beside the commits and not between them.

Whoever opens a table reads its newest checkpoint and the entries since. Writing one reads the whole table's log and takes
longer the more files there are, so there is one at most every hundred versions, and most of the time none is being written.
"""

import contextlib
import threading
import time

from deltalake.exceptions import DeltaError

from repaint_batch.errors import StorageError
from repaint_batch.results.table import CHECKPOINT_VERSIONS, ResultsTable

_REST = 20.0  # times what the last one took, at least, to the next


class Checkpoints:
    """Writes them for one committer.

    Args:
        table: the table.
        newest: version of its newest checkpoint; -1: there is none.
    """

    def __init__(self, table: ResultsTable, newest: int) -> None:
        self._table, self._newest = table, max(0, newest)
        self._earliest = 0.0
        self._thread: threading.Thread | None = None

    def reached(self, version: int) -> None:
        """Begin a checkpoint if it is time for one: the table has come to this version."""
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and version - self._newest >= CHECKPOINT_VERSIONS and time.monotonic() >= self._earliest:
            self._thread = threading.Thread(target=self._write, daemon=True, name="checkpoint")
            self._thread.start()

    def close(self) -> None:
        """Wait for one that is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self) -> None:
        begun = time.monotonic()
        # Nothing but speed depends on it.
        with contextlib.suppress(DeltaError, OSError, StorageError), self._table.kept() as delta:
            self._newest = delta.version()
            delta.create_checkpoint()
            delta.cleanup_metadata()
        self._earliest = time.monotonic() + _REST * (time.monotonic() - begun)
