"""The sampling state of a shard under way, so that a killed actor costs seconds and not the shard.

Every `compute.checkpoint_s` seconds the windows done, x_t and the position on the path go to the job's folder as one object.
With keyed noise a chain that is picked up there ends in the same bytes as one that was never interrupted.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple

import safetensors.torch
import torch
from torch import Tensor

from repaint_batch.config import fingerprint
from repaint_batch.errors import SourceMissing, Stopped
from repaint_batch.inpainting.rounds import Unrestored
from repaint_batch.sampler.repaint import ChainState
from repaint_batch.storage import Storage


class InFlight:
    """The state of one shard; the `checkpoint` of `RePaintPipeline.restore`.

    Args:
        uri: object that holds it.
        storage: how to reach it.
        work: hash of the windows, their keys and all that decides their restoration; a state of other work is not used.
        every_s: seconds between two saves.
        to_stop: asked after every step whether the work is to stop, with its state saved.
    """

    def __init__(
        self, uri: str, storage: Storage, work: str, every_s: float, to_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._uri, self._storage, self._work, self._every_s = uri, storage, work, every_s
        self._to_stop = to_stop
        self._saved_at = time.monotonic()
        self.resumed_at = 0
        """Position on the path of the chain that was picked up; 0 where none was."""

    def load(self) -> tuple[Tensor | None, ChainState | None]:
        """Return the windows of finished batches and where the next one stands, if this very work was under way."""
        try:
            data = self._storage.read(self._uri)
        except SourceMissing:
            return None, None
        tensors = safetensors.torch.load(data)
        # The header is a length in eight bytes and then JSON, see the safetensors format.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if header["work"] != self._work:
            return None, None
        self.resumed_at = int(header["position"])
        return tensors.get("restored"), ChainState(self.resumed_at, tensors["x_t"])

    def save(self, restored: Sequence[Tensor], state: ChainState) -> None:
        """Write the state if the last save is long enough ago.

        Raises:
            Stopped: the work is to stop; its state is saved.
        """
        to_stop = self._to_stop()
        if time.monotonic() - self._saved_at < self._every_s and not to_stop:
            return
        tensors = {"x_t": state.x_t.contiguous().cpu()}
        if restored:
            tensors["restored"] = torch.cat(list(restored)).cpu()
        metadata = {"work": self._work, "position": str(state.position)}
        self._storage.write(self._uri, safetensors.torch.save(tensors, metadata))
        self._saved_at = time.monotonic()
        if to_stop:
            raise Stopped(f"saved at position {state.position}")


def work_of(pictures: Sequence[Unrestored], *decides: str) -> str:
    """Return the hash of windows, their plans and keys, and whatever else decides their restoration."""
    parts = [
        (
            hashlib.sha256(picture.windows.tobytes()).hexdigest(),
            hashlib.sha256(picture.keep_mask.tobytes()).hexdigest(),
            [astuple(window) for window in picture.plan],
            picture.orientation,
            list(picture.keys),
        )
        for picture in pictures
    ]
    return fingerprint(parts, decides)
