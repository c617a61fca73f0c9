"""What was tried: small objects in the job's folder, where a new driver finds them.

::

    attempts/SHARD/ATTEMPT          written before an attempt does anything
    errors/SHARD/ATTEMPT.json       what an attempt raised, if it lived to say so
    probes/SHARD/START-STOP         a range of rows that went through without a commit
    quarantine/SHARD.json           rows that kill their worker, and are not tried again

An attempt that left neither a commit nor an error has died with its process.
"""

import json
import uuid
from dataclasses import dataclass

from repaint_batch.errors import SourceMissing
from repaint_batch.results.plan import Plan, job_uri
from repaint_batch.storage import Storage


@dataclass(frozen=True)
class Unit:
    """Rows that go through the pipeline together.

    Attributes:
        shard: the shard they belong to.
        start: first row, counted in the manifest.
        stop: row after the last.
        probe: True: find out whether they get through, and commit nothing.
    """

    shard: int
    start: int
    stop: int
    probe: bool = False

    @classmethod
    def whole(cls, plan: Plan, shard: int) -> "Unit":
        """Return all rows of a shard, to be committed."""
        return cls(shard, *plan.shard_range(shard))


@dataclass(frozen=True)
class AttemptError:
    """What an attempt raised."""

    shard: int
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

    def begin(self, unit: Unit) -> str:
        """Record that an attempt begins; return its id."""
        kind = f"probe-{unit.start}-{unit.stop}-" if unit.probe else ""
        attempt = kind + uuid.uuid4().hex[:12]
        self._storage.write(self._uri("attempts", f"{unit.shard:010d}", attempt), b"1")
        return attempt

    def counts(self) -> dict[int, int]:
        """Return how often each shard was tried as a whole."""
        tried: dict[int, int] = {}
        for uri, _ in self._storage.list(self._uri("attempts")):
            shard, attempt = uri.split("/")[-2:]
            if not attempt.startswith("probe-"):
                tried[int(shard)] = tried.get(int(shard), 0) + 1
        return tried

    def record_error(self, shard: int, error: BaseException) -> None:
        """Record what an attempt raised."""
        said = {"error_class": type(error).__name__, "message": str(error)[-4000:]}
        uri = self._uri("errors", f"{shard:010d}", f"{uuid.uuid4().hex[:12]}.json")
        self._storage.write(uri, json.dumps(said).encode())

    def errors(self) -> list[AttemptError]:
        """Return everything that attempts raised since the errors were last cleared."""
        return [
            AttemptError(int(uri.split("/")[-2]), **json.loads(self._storage.read(uri)))
            for uri, _ in self._storage.list(self._uri("errors"))
        ]

    def clear_errors(self) -> None:
        """Forget what earlier runs raised: a new run is a new chance."""
        for uri, _ in self._storage.list(self._uri("errors")):
            self._storage.delete(uri)

    def clear(self, shards: set[int]) -> None:
        """Forget the attempts at shards that are to have a new chance; what probes found out stays."""
        for shard in shards:
            for uri, _ in self._storage.list(self._uri("attempts", f"{shard:010d}")):
                if not uri.split("/")[-1].startswith("probe-"):
                    self._storage.delete(uri)

    def passed(self, unit: Unit) -> None:
        """Record that a probe went through."""
        self._storage.write(self._probe_uri(unit.shard, unit.start, unit.stop), b"1")

    def has_passed(self, unit: Unit) -> bool:
        """Return whether a probe went through."""
        return self._storage.exists(self._probe_uri(unit.shard, unit.start, unit.stop))

    def _probe_uri(self, shard: int, start: int, stop: int) -> str:
        return self._uri("probes", f"{shard:010d}", f"{start}-{stop}")

    def quarantine(self, shard: int, row: int, reason: str) -> None:
        """Record that a row is not to be tried again, and why."""
        rows = {**self.quarantined(shard), row: reason}
        self._storage.write(self._uri("quarantine", f"{shard:010d}.json"), json.dumps(rows).encode())

    def quarantined(self, shard: int) -> dict[int, str]:
        """Return the rows of a shard that are not to be tried, with the reason."""
        try:
            found = json.loads(self._storage.read(self._uri("quarantine", f"{shard:010d}.json")))
        except SourceMissing:
            return {}
        return {int(row): str(reason) for row, reason in found.items()}
