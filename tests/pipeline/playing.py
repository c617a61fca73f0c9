"""A job whose units die, played pass by pass through the budget of faults that a driver has, without a process to kill."""

import itertools
from collections.abc import Set
from typing import NamedTuple

from repaint_batch.pipeline.devices import Devices, Failure
from repaint_batch.pipeline.guarding import Heard
from repaint_batch.pipeline.passes import Faults
from repaint_batch.table.ranges import Ranges


class Played(NamedTuple):
    """What became of a job: rows by what became of them, devices that were found to be bad, and passes."""

    committed: set[int]
    guilty: set[int]
    bad: frozenset[str]
    passes: int


def play(
    rows: int, shard_rows: int, killers: Set[int], limit: int, devices: Set[str] = frozenset(), broken: Set[str] = frozenset()
) -> Played:
    """Play a job in which every unit with a killer in it dies.

    Units take turns on the devices, if there are any, and then die of them; one that is broken fails with whatever it is given.
    """
    known, faults = Devices(seen=set(devices)), Faults(limit, shard_rows)
    committed: set[int] = set()
    guilty: set[int] = set()
    pending = Ranges.of((0, rows))
    for passes in itertools.count():
        if not pending:
            return Played(committed, guilty, known.bad, passes)
        assert passes < 60, "the budget of faults is finite"
        units, _, out = faults.wave(pending, frozenset())
        heard = Heard(devices=known)
        turns = itertools.cycle(sorted(known.others(out)) or sorted(devices)[:1] or [""])
        for unit, device in zip(units, turns, strict=False):
            unit_rows = set(range(unit.start, unit.stop))
            if not (device in broken or unit_rows & killers):
                committed |= unit_rows
                if device:
                    known.worked(device)
            elif device:
                heard.failures.append(Failure(device, Ranges.of((unit.start, unit.stop))))
                known.failed(device, heard.failures[-1].rows, "CUDA error")
            else:
                heard.died.append((unit.start, unit.stop))
        before, pending = pending, pending - Ranges.of_rows(sorted(committed))
        guilty |= faults.hold(heard, before, pending).keys()
        pending -= Ranges.of_rows(sorted(guilty))
    raise AssertionError
