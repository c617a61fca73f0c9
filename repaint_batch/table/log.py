"""The transaction log of a Delta table, entry by entry.

deltalake opens a table, plans a scan and merges rows; it tells which application transactions a table holds only one by
one, and a commit through it costs eight requests. Whoever follows a table asks here for the one entry that is next: one
request. Whoever appends puts the one entry that is next: one request, which fails if somebody else was there first.

What is written is what the protocol asks of a blind append to a table without further features: ``commitInfo``, ``txn``, ``add``.
Source: the Delta transaction log protocol, sections *Delta Log Entries*, *Checkpoints* and *Last Checkpoint File*.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from repaint_batch.errors import SourceMissing, StorageError
from repaint_batch.storage import Storage
from repaint_batch.uris import join

Action = dict[str, Any]
"""One line of an entry, such as ``{"txn": {"appId": .., "version": ..}}``."""

_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet$")
_ENTRY = re.compile(r"/(\d{20})\.json$")
_READ_AHEAD = 8
_AT_ONCE = 256


@dataclass(frozen=True)
class Checkpoint:
    """The state of a table at one version, in one or several Parquet files.

    Attributes:
        version: the version.
        uris: its files.
    """

    version: int
    uris: tuple[str, ...]


@dataclass(frozen=True)
class Dated:
    """An object of a log.

    Attributes:
        version: that it makes, or is the state at.
        uri: where it is.
        modified: seconds since 1970, by the store's clock.
        is_checkpoint: whether it is a checkpoint, or part of one; an entry otherwise.
    """

    version: int
    uri: str
    modified: float
    is_checkpoint: bool


def info_of(actions: Iterable[Action]) -> dict[str, Any]:
    """Return what an entry says of itself."""
    return next((action["commitInfo"] for action in actions if "commitInfo" in action), {})


class Log:
    """The log of a table.

    Args:
        table_uri: folder or prefix of the table.
        storage: how to reach it.
    """

    def __init__(self, table_uri: str, storage: Storage) -> None:
        self.uri, self._storage = join(table_uri, "_delta_log"), storage

    def exists(self) -> bool:
        """Return whether there is one; deltalake, asked the same, lets no other thread of the process run meanwhile."""
        return any(_ENTRY.search(uri) or _CHECKPOINT.search(uri) for uri, _ in self._storage.walk(self.uri))

    def read(self, version: int) -> list[Action] | None:
        """Return what made a version; None if there is no such version yet, or not any more.

        Raises:
            StorageError: the store does not answer.
        """
        try:
            return [json.loads(line) for line in self._storage.read(self._uri(version)).splitlines() if line]
        except SourceMissing as error:
            if not isinstance(error.__cause__, FileNotFoundError):  # it may be there, and is not shown to this client
                raise StorageError(str(error)) from error
            return None
        except ValueError as error:
            raise StorageError(f"{self._uri(version)} is no entry of a Delta log: {error}") from error

    def write(self, version: int, actions: list[Action]) -> bool:
        """Make a version, unless somebody has; return whether this call certainly did.

        Raises:
            StorageError: the store does not answer; the entry may be there, now or in a while.
        """
        return self._storage.create(self._uri(version), "\n".join(json.dumps(action) for action in actions).encode())

    def follow(self, version: int) -> Iterator[tuple[int, list[Action]]]:
        """Yield the entries after a version, to the newest; one request more than there are, or a few ahead of many."""
        found, ahead = 0, 1
        with ThreadPoolExecutor(_READ_AHEAD) as pool:
            while True:
                for entry in pool.map(self.read, range(version + 1, version + 1 + ahead)):
                    if entry is None:
                        return
                    version, found = version + 1, found + 1
                    yield version, entry
                ahead = min(found, _READ_AHEAD)

    def checkpoint(self, upto: int | None = None) -> Checkpoint | None:
        """Return the newest checkpoint, or that before or at a version; None if there is none."""
        try:
            hint = json.loads(self._storage.read(join(self.uri, "_last_checkpoint")))
            if upto is None or int(hint["version"]) <= upto:
                return Checkpoint(int(hint["version"]), tuple(self._checkpoint_uris(int(hint["version"]), hint.get("parts"))))
        except SourceMissing:
            return None
        except (ValueError, KeyError, TypeError):  # only a hint
            pass
        complete = [found for found in self.listed()[1] if upto is None or found.version <= upto]
        return complete[-1] if complete else None

    def listed(self) -> tuple[list[int], list[Checkpoint]]:
        """Return the versions whose entries are there, and the whole checkpoints, both ascending."""
        versions, parts, wanted = [], dict[int, list[str]](), dict[int, int]()
        for uri, _ in self._storage.list(self.uri):
            if found := _ENTRY.search(uri):
                versions.append(int(found[1]))
            elif found := _CHECKPOINT.search(uri):
                parts.setdefault(int(found[1]), []).append(uri)
                wanted[int(found[1])] = int(found[3] or 1)
        whole = (Checkpoint(version, tuple(uris)) for version, uris in parts.items() if len(uris) >= wanted[version])
        return sorted(versions), sorted(whole, key=lambda checkpoint: checkpoint.version)

    def dated(self) -> list[Dated]:
        """Return the entries and the parts of checkpoints that are there, by version."""
        found = []
        for uri, info in self._storage.list(self.uri):
            if entry := _ENTRY.search(uri):
                found.append(Dated(int(entry[1]), uri, float(info["modified"]), is_checkpoint=False))
            elif part := _CHECKPOINT.search(uri):
                found.append(Dated(int(part[1]), uri, float(info["modified"]), is_checkpoint=True))
        return sorted(found, key=lambda one: one.version)

    def entries(self, versions: Sequence[int]) -> Iterator[tuple[int, list[Action]]]:
        """Yield the entries of some versions, in that order; those that are gone are left out."""
        with ThreadPoolExecutor(_READ_AHEAD) as pool:
            for first in range(0, len(versions), _AT_ONCE):
                some = versions[first : first + _AT_ONCE]
                found = zip(some, pool.map(self.read, some), strict=True)
                yield from ((version, entry) for version, entry in found if entry is not None)

    def transactions(self, checkpoint: Checkpoint) -> Iterator[tuple[str, int]]:
        """Yield (application id, number) of every transaction that a checkpoint knows."""
        for uri in checkpoint.uris:
            filesystem, path = self._storage.arrow(uri)
            try:
                found = pq.ParquetFile(path, filesystem=filesystem).read(columns=["txn.appId", "txn.version"])
            except FileNotFoundError as error:
                raise StorageError(f"{uri}: the log names this checkpoint, and it is not there") from error
            if "txn" in found.column_names:
                for name, number in zip(*(column.to_pylist() for column in found["txn"].combine_chunks().flatten()), strict=True):
                    if name is not None:
                        yield name, number

    def _uri(self, version: int) -> str:
        return join(self.uri, f"{version:020d}.json")

    def _checkpoint_uris(self, version: int, parts: int | None) -> Iterator[str]:
        if parts is None:
            yield join(self.uri, f"{version:020d}.checkpoint.parquet")
        else:
            for part in range(1, parts + 1):
                yield join(self.uri, f"{version:020d}.checkpoint.{part:010d}.{parts:010d}.parquet")
