"""How well actors use their devices: one small object an actor in the job's folder, overwritten as it works on.

::

    usage/WORKER.json
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repaint_batch.results.plan import job_uri
from repaint_batch.storage import Storage


@dataclass(frozen=True)
class Usage:
    """What an engine has done since it was made.

    Attributes:
        calls: network calls.
        used: slots that held a chain, summed over calls.
        slots: of one call.
        busy_s: seconds in which a step was under way.
        span_s: seconds from the first step to the end of the last.
        waiting: chains in the queue.
        parcels: calls whose rows are under way.
        fed_calls, fed_used: calls and slots used up to the last call after which windows still waited for a slot.
    """

    calls: int
    used: int
    slots: int
    busy_s: float
    span_s: float
    waiting: int
    parcels: int
    fed_calls: int = 0
    fed_used: int = 0

    @property
    def slots_used(self) -> float:
        """Share of the slots of calls that held a chain."""
        return self.used / max(1, self.calls * self.slots)

    @property
    def waits(self) -> float:
        """Share of the time since the first call in which no step was under way."""
        return max(0.0, 1 - self.busy_s / self.span_s) if self.span_s else 0.0

    @property
    def slots_used_while_fed(self) -> float | None:
        """The same until the queue ran dry for the last time; None if it always was."""
        return self.fed_used / (self.fed_calls * self.slots) if self.fed_calls else None


def write_usage(output: str, job_id: str, worker: str, usage: Mapping[str, Any], storage: Storage) -> None:
    """Write what an actor's engine has done, in place of what it had said before."""
    name = worker.replace("/", "-")
    storage.write(job_uri(output, job_id, "usage", f"{name}.json"), json.dumps(usage).encode())


def read_usage(output: str, job_id: str, storage: Storage) -> list[Usage]:
    """Return what every actor of a job has said last."""
    found = storage.list(job_uri(output, job_id, "usage"))
    return [Usage(**json.loads(storage.read(uri))) for uri, _ in found]
