"""What went wrong: small objects in the job's folder, where the driver finds them.

::

    errors/START-STOP-ID.json   what an attempt at rows [START, STOP) raised, if it lived to say so
    quarantine/SHARD.json       rows that kill their worker, and are not tried again

Rows that came neither home nor to an error have died with their process. How often they did is counted by the driver, in
memory: what died with its driver is held against nobody.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from repaint_batch.errors import SourceMissing
from repaint_batch.results.plan import Plan, job_uri
from repaint_batch.storage import Storage


@dataclass(frozen=True)
class Unit:
    """Consecutive rows of one shard that are handed out together.

    Attributes:
        start: first row, counted in the manifest.
        stop: row after the last.
        saved: rows of it whose sampling was interrupted and its state saved.
    """

    start: int
    stop: int
    saved: frozenset[int] = frozenset()


@dataclass(frozen=True)
class AttemptError:
    """What an attempt at rows [start, stop) raised."""

    start: int
    stop: int
    error_class: str
    message: str


class AttemptLog:
    """The attempts of one job.

    Args:
        output: folder or prefix of the output.
        plan: the job.
        storage: how to reach it.
    """

    def __init__(self, output: str, plan: Plan, storage: Storage) -> None:
        self._output, self._plan, self._storage = output, plan, storage

    def _uri(self, *parts: str) -> str:
        return job_uri(self._output, self._plan.job_id, *parts)

    def record_error(self, start: int, stop: int, error: BaseException) -> None:
        """Record what an attempt at rows [start, stop) raised."""
        said = {"start": start, "stop": stop, "error_class": type(error).__name__, "message": str(error)[-4000:]}
        uri = self._uri("errors", f"{start:012d}-{stop:012d}-{uuid.uuid4().hex[:12]}.json")
        self._storage.write(uri, json.dumps(said).encode())

    def errors(self) -> list[AttemptError]:
        """Return everything that attempts raised since the errors were last cleared."""
        found = (self._storage.read(uri) for uri, _ in self._storage.list(self._uri("errors")))
        return [AttemptError(**json.loads(data)) for data in found]

    def clear_errors(self) -> None:
        """Forget what was raised before."""
        for uri, _ in self._storage.list(self._uri("errors")):
            self._storage.delete(uri)

    def quarantine(self, rows: Mapping[int, str]) -> None:
        """Record rows that are not to be tried again, and why."""
        by_shard: dict[int, dict[int, str]] = {}
        for row, reason in rows.items():
            by_shard.setdefault(row // self._plan.shard_rows, {})[row] = reason
        for shard, of_shard in by_shard.items():
            known = {**self.quarantined(shard), **of_shard}
            self._storage.write(self._uri("quarantine", f"{shard:010d}.json"), json.dumps(known).encode())

    def quarantined(self, shard: int) -> dict[int, str]:
        """Return the rows of a shard that are not to be tried, with the reason."""
        try:
            found = json.loads(self._storage.read(self._uri("quarantine", f"{shard:010d}.json")))
        except SourceMissing:
            return {}
        return {int(row): str(reason) for row, reason in found.items()}
