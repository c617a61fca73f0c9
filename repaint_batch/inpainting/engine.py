"""Slots fed from a queue: as long as chains wait, no slot is empty.

The queue is ordered by whoever fills it, see `restorer`. Where memory runs out and the owner
left the number of windows to the device, half the slots are given up and their chains go on from their states.
"""

import heapq
import itertools
import logging
import math
from collections.abc import Callable, Sequence

import torch

from repaint_batch.inpainting.device import device_of, out_of_memory, ran_out
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain, Slots

_log = logging.getLogger(__name__)


class _Waiting:
    """A chain, or what makes it: once, however often it is asked for."""

    def __init__(self, chain: Chain | Callable[[], Chain]) -> None:
        self._chain = chain

    def made(self) -> Chain:
        if not isinstance(self._chain, Chain):
            self._chain = self._chain()
        return self._chain


class Engine:
    """One sampler on one prior, in batches of one shape.

    Args:
        prior: the network.
        sampler: algorithm and settings.
        batch_windows: slots; they are the windows of every network call.
        size_px: (H, W) of windows; by default the prior's own.
        labelled: whether chains bring classes; otherwise all are of the prior's default one, if it has classes.
        may_shrink: go on with half the slots when memory runs out, instead of raising.
        recorded: replay steps as CUDA graphs, where they can be; a network that counts its calls sees none of them.

    Attributes:
        calls: network calls so far.
        used: slots that held a chain, summed over calls.
        fed: calls, and slots used, up to the last call beside which a chain waited for a slot.

    Raises:
        PriorError: the prior needs a class and has no default.
    """

    def __init__(
        self,
        prior: LoadedPrior,
        sampler: Sampler,
        batch_windows: int,
        *,
        size_px: tuple[int, int] | None = None,
        labelled: bool = False,
        may_shrink: bool = False,
        recorded: bool = True,
    ) -> None:
        self._prior, self._labelled, self._may_shrink, self._recorded = prior, labelled, may_shrink, recorded
        self._table = sampler.table(prior.schedule, fixed_large_variance=prior.fixed_large_variance)
        self._size_px = size_px or (prior.resolution_px, prior.resolution_px)
        self._queue: list[tuple[float, int, _Waiting]] = []
        self._numbers = itertools.count()
        self._calls = self._used = 0
        self.fed = (0, 0)
        self._slots = self._made(batch_windows)

    def _made(self, count: int) -> Slots:
        prior = self._prior.labelled([0] * count if self._labelled else None, count)
        default = self._prior.default_label
        self._label = 0 if default is None else default
        shape = (count, prior.channels, *self._size_px)
        return Slots(
            prior,
            self._table,
            shape,
            device=device_of(prior),
            labels=prior.labels,
            guidance=prior.guidance,
            compiled=prior.compiled,
            recorded=self._recorded,
        )

    @property
    def batch_windows(self) -> int:
        """Slots; fewer than at first once memory has run out."""
        return len(self._slots.chains)

    @property
    def calls(self) -> int:
        return self._calls + self._slots.calls

    @property
    def used(self) -> int:
        return self._used + self._slots.used

    @property
    def waiting(self) -> int:
        """Chains in the queue."""
        return len(self._queue)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._queue and self._slots.is_empty

    def steps_of(self, *, drafted: bool) -> int:
        """Return the steps of a chain, which are fewer where it starts from a draft."""
        return len(self._table) - (self._table.entry if drafted else 0)

    def enqueue(self, chain: Chain | Callable[[], Chain], rank: float = 0) -> None:
        """Take a chain, or what makes it once there is a slot for it; those of lower `rank` first, then in order."""
        heapq.heappush(self._queue, (rank, next(self._numbers), _Waiting(chain)))

    def step(self) -> list[Chain]:
        """Fill free slots, take one step, and return the chains that have come out.

        Raises:
            BatchTooLarge, PriorError: the slots do not fit the device's memory, and may not be fewer.
        """
        try:
            self._fill()
            if all(chain is None for chain in self._slots.chains):
                return self._slots.drain()
            done = self._slots.step()
            if self._queue:
                self.fed = self.calls, self.used
            return done
        except RuntimeError as error:  # its traceback holds tensors: what fits shows only once that is gone
            if not ran_out(error):
                raise
        if not self._may_shrink or self.batch_windows == 1:
            raise out_of_memory(self._prior, self._slots.shape)
        return self._shrink()

    def _fill(self) -> None:
        first = heapq.nsmallest(len(self._slots.free), self._queue)
        if first:
            self._slots.put([self._labelled_one(waiting.made()) for _, _, waiting in first])
        # Only now: where memory runs out in between, they wait on.
        for _ in first:
            heapq.heappop(self._queue)

    def _labelled_one(self, chain: Chain) -> Chain:
        if not self._labelled:
            chain.label = self._label
        return chain

    def _shrink(self) -> list[Chain]:
        done, taken, count = self._slots.drain(), self._slots.take_out(), self.batch_windows
        _log.warning("memory ran out with %d windows in a call; going on with %d", count, count // 2)
        self._calls, self._used = self.calls, self.used
        del self._slots  # before new ones are made, or there would be no memory for them
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # blocks that are cached for the larger shape fit no smaller one
        self._slots = self._made(count // 2)
        for chain in taken:
            heapq.heappush(self._queue, (-math.inf, next(self._numbers), _Waiting(chain)))
        return done

    def run(self, chains: Sequence[Chain]) -> None:
        """Take chains and step until all of them have ended."""
        for chain in chains:
            self.enqueue(chain)
        while any(chain.restored is None for chain in chains):
            self.step()

    def states(self) -> list[tuple[Chain, torch.Tensor]]:
        """Return every chain under way with its state, (C, H, W) float32 on the host; waits for the device."""
        return self._slots.states()
