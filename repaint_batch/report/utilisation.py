"""How well a job used its devices, in figures and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from repaint_batch.jobs.usage import Usage, slots_used, waits

_LOW, _LONG = 0.9, 0.05  # share of slots below which, and of time above which, something can be mended
ACTORS_SHOWN = 12


@dataclass(frozen=True)
class Utilisation:
    """What actors have said of their devices.

    Attributes:
        slots_used: share of the slots of their network calls that held a window.
        waits: share of the time from an actor's first call to its last in which none was under way.
        calls: network calls.
        advice: what would mend low figures; empty where nothing is to be mended.
        actors: each of them where there are several, the least used first; at most `ACTORS_SHOWN`.
        left_out: how many more there are.
    """

    slots_used: float
    waits: float
    calls: int
    advice: str
    actors: list[Usage]
    left_out: int

    @classmethod
    def of(cls, usages: Sequence[Usage]) -> "Utilisation | None":
        """Return the figures of actors that have made network calls; None if there are none."""
        if not usages:
            return None
        used, waited = slots_used(usages), waits(usages)
        actors = sorted(usages, key=lambda usage: usage.slots_used) if len(usages) > 1 else []
        return cls(
            slots_used=used,
            waits=waited,
            calls=sum(usage.calls for usage in usages),
            advice=_advice(used, waited),
            actors=actors[:ACTORS_SHOWN],
            left_out=max(0, len(actors) - ACTORS_SHOWN),
        )


def _advice(used: float, waited: float) -> str:
    if waited > _LONG:
        return "Windows came more slowly than they were sampled: more CPU cores for decoding, or nearer storage, would mend it."
    if used < _LOW:
        return "There were too few windows for so many slots: a smaller compute.batch_windows or fewer actors would mend it."
    return ""
