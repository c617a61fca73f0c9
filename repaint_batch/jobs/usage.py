"""How well actors use their devices: one small object an actor in the job's folder, overwritten as it works on.

::

    usage/WORKER.json
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from repaint_batch.jobs.plan import job_uri
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
        worker: who says so, as its object is called.
        said_at: seconds since 1970 when it did, by the store's clock.
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
    worker: str = ""
    said_at: float = 0.0

    @property
    def slots_used(self) -> float:
        """Share of the slots of calls that held a chain."""
        return slots_used([self])

    @property
    def evaluation_s(self) -> float:
        """Seconds of one evaluation of one window: of all calls, shared out over the slots that held one."""
        return self.busy_s / max(1, self.used)

    @property
    def waits(self) -> float:
        """Share of the time from the first call to the last in which no step was under way."""
        return waits([self])

    @property
    def slots_used_while_fed(self) -> float | None:
        """The same until the queue ran dry for the last time; None if it always was."""
        return self.fed_used / (self.fed_calls * self.slots) if self.fed_calls else None


def slots_used(usages: Iterable[Usage]) -> float:
    """Return the share of the slots of all actors' calls that held a chain."""
    usages = list(usages)
    return min(1.0, sum(one.used for one in usages) / max(1, sum(one.calls * one.slots for one in usages)))


def waits(usages: Iterable[Usage]) -> float:
    """Return the share of all actors' time from their first call to their last in which no step was under way."""
    usages = list(usages)
    span_s = sum(one.span_s for one in usages)
    return max(0.0, 1 - sum(one.busy_s for one in usages) / span_s) if span_s else 0.0


def write_usage(output: str, job_id: str, worker: str, usage: Mapping[str, Any], storage: Storage) -> None:
    """Write what an actor's engine has done, in place of what it had said before."""
    name = worker.replace("/", "-")
    storage.write(job_uri(output, job_id, "usage", f"{name}.json"), json.dumps(usage).encode())


def read_usage(output: str, job_id: str, storage: Storage) -> list[Usage]:
    """Return what every actor of a job that has made a network call has said last."""
    found = storage.list(job_uri(output, job_id, "usage"))
    read = [
        replace(
            Usage(**json.loads(storage.read(uri))),
            worker=uri.rpartition("/")[2].removesuffix(".json"),
            said_at=info["modified"],
        )
        for uri, info in found
    ]
    return [usage for usage in read if usage.calls]
