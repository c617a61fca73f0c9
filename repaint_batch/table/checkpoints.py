"""Checkpoints of a table's log, written beside the commits and not between them.

Whoever opens a table reads its newest checkpoint and the entries since, so there is a new one every hundred versions. deltalake
writes it, from a copy of the log on the local disk: from the table it would read each of the hundred entries four times, and
the committer knows them all.
"""

import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from repaint_batch.errors import StorageError
from repaint_batch.storage import Storage
from repaint_batch.table.log import Action, Log
from repaint_batch.table.results import CHECKPOINT_VERSIONS
from repaint_batch.uris import join

_HINT = "_last_checkpoint"


class Checkpoints:
    """Writes them for one committer.

    Args:
        log: of the table.
        storage: how to reach it.
        newest: version of its newest checkpoint; -1: there is none.
    """

    def __init__(self, log: Log, storage: Storage, newest: int) -> None:
        self._log, self._storage, self._newest = log, storage, newest
        self._entries: dict[int, list[Action]] = {}
        self._thread: threading.Thread | None = None

    def note(self, version: int, actions: list[Action]) -> None:
        """Take the entry that made a version; begin a checkpoint if it is time for one."""
        self._entries[version] = actions
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and version - max(0, self._newest) >= CHECKPOINT_VERSIONS:
            self._thread = threading.Thread(target=self._write, args=(version,), daemon=True, name="checkpoint")
            self._thread.start()

    def close(self) -> None:
        """Wait for one that is being written."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, version: int) -> None:
        # Nothing but speed depends on it.
        with contextlib.suppress(DeltaError, OSError, StorageError):
            write_checkpoint(self._log, self._storage, version, self._entries)
            self._newest = version
            for number in [number for number in list(self._entries) if number <= version]:
                del self._entries[number]


def write_checkpoint(log: Log, storage: Storage, version: int, entries: Mapping[int, list[Action]]) -> None:
    """Write the checkpoint of a version.

    Args:
        log: of the table.
        storage: how to reach it.
        version: the version; it is there.
        entries: those that are known; the others are read.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "_delta_log"
        copy.mkdir()
        for name, data in _copied(log, storage, version, entries):
            (copy / name).write_bytes(data)
        DeltaTable(folder, version).create_checkpoint()
        for path in [*copy.glob(f"{version:020d}.checkpoint*"), copy / _HINT]:
            storage.write(join(log.uri, path.name), path.read_bytes())


def _copied(
    log: Log, storage: Storage, version: int, known: Mapping[int, list[Action]]
) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of what a version of the table is read from."""
    last = log.checkpoint(version)
    for uri in last.uris if last else ():
        yield uri.rpartition("/")[2], storage.read(uri)
    versions = range(last.version + 1 if last else 0, version + 1)
    entries = {number: known[number] for number in versions if number in known}
    entries |= log.entries([number for number in versions if number not in entries])
    for number, actions in entries.items():
        yield f"{number:020d}.json", "\n".join(json.dumps(action) for action in actions).encode()
