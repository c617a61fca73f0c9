"""The sampling state of rows under way, so that a killed actor costs seconds and not the pictures.

::

    inflight/ROW/ended-NNNN.safetensors    windows that have ended since the last save; written once, never again
    inflight/ROW/chains.safetensors        states of the windows that are being sampled; overwritten

With keyed noise a chain that is picked up ends in the same bytes as one that was never interrupted. A state that cannot be
saved stops nothing: this is logged once, and the save is tried again next time.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from repaint_batch.errors import StorageError
from repaint_batch.inpainting.restorer import Saved
from repaint_batch.pipeline.job import Job, inflight_uri
from repaint_batch.storage import Storage
from repaint_batch.uris import join

_log = logging.getLogger(__name__)
_CHAINS = "chains.safetensors"


@dataclass(eq=False)
class RowState:
    """What is saved of one row.

    Attributes:
        uri: folder or prefix that holds it.
        work: hash of all that decides its restoration; a state of other work is not used.
        ended: windows that were saved, by candidate and number.
        pieces: objects that hold them.
        is_saved: whether anything was.
    """

    uri: str
    work: str
    ended: set[tuple[int, int]] = field(default_factory=set)
    pieces: int = 0
    is_saved: bool = False


class InFlight:
    """States of rows of one job.

    Args:
        job: the job.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._storage = job, job.storage
        self._hasty = job.storage.impatient  # the next save is a minute away, and rows that are done wait for this one
        self._told = False

    def state_of(self, row: int, work: str) -> RowState:
        """Return where a row's state is kept; nothing is read."""
        return RowState(inflight_uri(self._job.output, self._job.plan.job_id, row), work)

    def load(self, state: RowState, candidates: int) -> list[Saved]:
        """Return what an interrupted run had done of each of a row's candidates, and note it in `state`."""
        ended: list[dict[int, np.ndarray]] = [{} for _ in range(candidates)]
        states: list[dict[int, tuple[int, Tensor]]] = [{} for _ in range(candidates)]
        for uri, _ in self._storage.list(state.uri):
            tensors, facts = _read(self._storage, uri)
            if facts.get("work") != state.work:
                continue
            for name, tensor in tensors.items():
                candidate, number, position = (int(part) for part in name.split("/"))
                if uri.endswith(_CHAINS):
                    states[candidate][number] = position, tensor
                else:
                    ended[candidate][number] = tensor.numpy()
                    state.ended.add((candidate, number))
            state.pieces += not uri.endswith(_CHAINS)
        for known, under_way in zip(ended, states, strict=True):
            for number in known:
                under_way.pop(number, None)
        return [Saved(known, under_way) for known, under_way in zip(ended, states, strict=True)]

    def save(
        self,
        state: RowState,
        ended: Sequence[Mapping[int, np.ndarray]],
        chains: Sequence[Mapping[int, tuple[int, Tensor]]],
    ) -> bool:
        """Write what has ended since the last save, and where the rest stands; return whether it is written.

        Args:
            state: of the row.
            ended: of every candidate the (n, 3) float32 hole pixels of all windows that have ended, by number.
            chains: of every candidate position and state of the windows under way, by number.
        """
        new = {
            (candidate, number): pixels
            for candidate, windows in enumerate(ended)
            for number, pixels in windows.items()
            if (candidate, number) not in state.ended
        }
        under_way = {
            f"{candidate}/{number}/{position}": x_t
            for candidate, windows in enumerate(chains)
            for number, (position, x_t) in windows.items()
        }
        facts = {"work": state.work}
        try:
            if new:
                tensors = {f"{candidate}/{number}/0": torch.from_numpy(pixels) for (candidate, number), pixels in new.items()}
                piece = join(state.uri, f"ended-{state.pieces:06d}.safetensors")
                self._hasty.write(piece, safetensors.torch.save(tensors, facts))
                state.ended |= new.keys()
                state.pieces += 1
            self._hasty.write(join(state.uri, _CHAINS), safetensors.torch.save(under_way, facts))
            state.is_saved = True
        except StorageError as error:
            if not self._told:
                _log.warning("the state of sampling cannot be saved, and is tried again: %s", error)
            self._told = True
            return False
        return True

    def rows(self) -> frozenset[int]:
        """Return the rows of which a state is saved."""
        base = inflight_uri(self._job.output, self._job.plan.job_id)
        return frozenset(int(uri.split("/")[-2]) for uri, _ in self._storage.list(base))

    def drop(self, row: int) -> None:
        """Delete a row's state."""
        for uri, _ in self._storage.list(inflight_uri(self._job.output, self._job.plan.job_id, row)):
            self._storage.delete(uri)


def _read(storage: Storage, uri: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    data = storage.read(uri)
    # The header is a length in eight bytes and then JSON, see the safetensors format.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return safetensors.torch.load(data), header.get("__metadata__", {})
