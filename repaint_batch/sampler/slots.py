"""The one batch of fixed shape in which chains are sampled, each at its own step.

A slot that becomes free is filled with any chain that is ready, while its neighbours go on. Nothing that a slot computes
depends on them: the shape of the batch never changes, noise is keyed by the chain, coefficients are gathered by the slot's
own step. The host counts steps by itself, so nothing in the loop waits for the device.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repaint_batch.sampler.arithmetic import exact_arithmetic
from repaint_batch.sampler.drafts import DraftBuffers, Held
from repaint_batch.sampler.noise import key_words, keyed_normal
from repaint_batch.sampler.prior import Guidance, Prior
from repaint_batch.sampler.recording import Recording, record
from repaint_batch.sampler.step import State, finish
from repaint_batch.sampler.table import Table


@dataclass(eq=False)
class Chain:
    """The sampling of one window.

    Attributes:
        key: 64-bit noise key, see `repaint_batch.sampler.noise.sample_key`.
        known: (C, H, W) float32 in [-1, 1] on the host; the hole is never read.
        keep_mask: (1, H, W) bool on the host, True = known pixel.
        draft: (C, H, W) float32 in [-1, 1] that it starts from and is held to; None: it starts from noise.
        label: class, where the prior has classes.
        position: steps that are done; of a chain that is new, those that a draft spares.
        x_t: (C, H, W) float32 on the host, the state after them; None where it is new.
        restored: (C, H, W) float32 on the host, once it has ended; known pixels are exactly those of `known`.
    """

    key: int
    known: Tensor
    keep_mask: Tensor
    draft: Tensor | None = None
    label: int = 0
    position: int = 0
    x_t: Tensor | None = None
    restored: Tensor | None = None


_Leaving = tuple[list[Chain], Tensor, torch.cuda.Event | None]
"""Chains that have ended, what they restored, on its way to the host, and when it has arrived there."""


class Slots:
    """A batch whose every slot is at its own step of its own chain.

    Args:
        prior: predicts noise; what labels it reads is written by `put`.
        table: steps of the sampler on the prior's process.
        shape: (B, C, H, W).
        device: where it computes.
        labels: (B,) int64 on the device that `prior` and `guidance` read; None where there are no classes.
        guidance: gradient of log p(label | x_t).
        compiled: compile the noise and the update too, as the prior's network is. Rounds differently.
        recorded: replay a step as one CUDA graph, where `device` is one and nothing guides. What a step leaves in `x_t` and
            `pred_x0` is then written over by the next.

    Attributes:
        chains: what each slot holds; None: it is free.
        calls: network calls so far.
        used: slots that held a chain, summed over calls.
        x_t, pred_x0: (B, C, H, W) float32 on the device, after the last step.
    """

    def __init__(
        self,
        prior: Prior,
        table: Table,
        shape: Sequence[int],
        *,
        device: torch.device | str = "cpu",
        labels: Tensor | None = None,
        guidance: Guidance | None = None,
        compiled: bool = False,
        recorded: bool = False,
    ) -> None:
        self.device, self.shape, self._compiled = torch.device(device), tuple(shape), compiled
        self._prior, self._guidance, self._labels = prior, guidance, labels
        self.table = table
        self._table = table.to(self.device)
        self._drafts = DraftBuffers(self.shape, self.device, allocate=compiled)
        self._finish = torch.compile(finish, dynamic=False) if compiled else finish
        self._normal = torch.compile(keyed_normal, dynamic=False) if compiled else keyed_normal
        count, _, height, width = self.shape
        self.chains: list[Chain | None] = [None] * count
        self.calls = self.used = 0
        self.x_t, self._z, self._known = (torch.zeros(self.shape, device=self.device) for _ in range(3))
        self.pred_x0 = self.x_t
        self._keep = torch.ones((count, 1, height, width), dtype=torch.bool, device=self.device)
        self._keys = torch.zeros((count, 2), dtype=torch.int64, device=self.device)
        self._position = torch.full((count,), len(table), device=self.device)
        self._leaving: deque[_Leaving] = deque()
        self._recorded = recorded and self.device.type == "cuda" and guidance is None
        self._recordings: dict[bool, Recording | None] = {}  # with drafts, and without

    @property
    def free(self) -> list[int]:
        """Slots that hold no chain."""
        return [slot for slot, chain in enumerate(self.chains) if chain is None]

    @property
    def is_empty(self) -> bool:
        """Whether no chain is under way or on its way out."""
        return not self._leaving and all(chain is None for chain in self.chains)

    @torch.inference_mode()
    @exact_arithmetic()
    def put(self, chains: Sequence[Chain]) -> None:
        """Put chains into free slots, of which there must be enough."""
        slots = self.free[: len(chains)]
        for chain in chains:
            if chain.x_t is None and chain.draft is not None:
                chain.position = self.table.entry
        at = self._sent(torch.tensor(slots))
        keep = self._sent(torch.stack([chain.keep_mask for chain in chains]))
        known = self._sent(torch.stack([chain.known for chain in chains]))
        # Whatever a hole held, NaN perhaps, is not to be multiplied even by 0.
        self._keep[at], self._known[at] = keep, torch.where(keep, known, 0)
        self._keys[at] = self._sent(key_words([chain.key for chain in chains]))
        self._position[at] = self._sent(torch.tensor([chain.position for chain in chains]))
        if self._labels is not None:
            self._labels[at] = self._sent(torch.tensor([chain.label for chain in chains]))
        self._drafts.put(at, slots, [chain.draft for chain in chains], self._keep, self._sent)
        # Always of the whole batch: code that is compiled for another shape may round differently.
        z = self._normal(self._keys, self._position, self.shape[1:])
        self._z = self._z.copy_(z) if self._recorded else z
        self._start(at, chains)
        # Last, so that memory that runs out before it leaves the slots free.
        for slot, chain in zip(slots, chains, strict=True):
            self.chains[slot] = chain

    def _start(self, at: Tensor, chains: Sequence[Chain]) -> None:
        """Write the first states of `chains` into the slots `at`."""
        rows = self._table.at(self._position[at])
        z, known, keep = self._z[at], self._known[at], self._keep[at]
        # A chain from a draft stands amid its path, where the draft is noised and so are known pixels.
        from_draft = torch.tensor([chain.draft is not None for chain in chains]).view(-1, 1, 1, 1)
        start = torch.where(keep, known, self._drafts.pixels[at] if from_draft.any() else known)
        noised = rows.signal * start + rows.sigma * z
        placed = self._sent(from_draft) | (keep & self.table.starts_known)
        states = torch.where(placed, noised, z)
        resumed = [number for number, chain in enumerate(chains) if chain.x_t is not None]
        if resumed:
            x_t = torch.stack([x for number in resumed if (x := chains[number].x_t) is not None])
            states[self._sent(torch.tensor(resumed))] = self._sent(x_t)
        self.x_t[at] = states

    def _sent(self, tensor: Tensor) -> Tensor:
        """Return `tensor` on the device; the host does not wait for it.

        In the stream of the steps: a window of 256 px takes 15 µs of some 60 steps, less than a second stream's events would.
        """
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    @torch.inference_mode()
    @exact_arithmetic()
    def step(self) -> list[Chain]:
        """Take a step with every slot; return the chains that have come out since, in order."""
        x_t, pred_x0, z_next = self._advanced()
        held_by = [(slot, chain) for slot, chain in enumerate(self.chains) if chain is not None]
        ended = [(slot, chain) for slot, chain in held_by if chain.position + 1 == len(self.table)]
        if ended:
            self._leaving.append(self._sent_back(ended, x_t))
        # Nothing below takes memory: where it runs out above, the step has not been taken and can be once more.
        if self._recorded:  # a recording reads its inputs where they were
            x_t, z_next = self.x_t.copy_(x_t), self._z.copy_(z_next)
        self.x_t, self.pred_x0, self._z = x_t, pred_x0, z_next
        self._position += 1
        self.calls += 1
        self.used += len(held_by)
        for _, chain in held_by:
            chain.position += 1
        self._free([slot for slot, _ in ended])
        return self._arrived(wait=False)

    def _advanced(self) -> tuple[Tensor, ...]:
        """Return x', pred_x0 and z_{i+1}, each (B, C, H, W) float32; the state stays what it is."""
        # Compiled code with drafts may round differently from code without: there one serves all.
        held = self._drafts.held() if self._drafts.in_use or self._compiled else None
        if not self._recorded:
            return self._computed(held)
        kind = held is not None
        if kind not in self._recordings:
            self._recordings[kind] = record(lambda: self._computed(held), self.device)
        recording = self._recordings[kind]
        return self._computed(held) if recording is None else recording()

    def _computed(self, held: Held | None) -> tuple[Tensor, ...]:
        z_next = self._normal(self._keys, self._position + 1, self.shape[1:])
        state = State(self.x_t, self._known, self._keep, self._z, self._position)
        rows = self._table.at(self._position)
        gradient = None if self._guidance is None else self._guidance(self.x_t, rows.t)
        prediction = self._prior(self.x_t, rows.t)
        x_t, pred_x0 = self._finish(rows, state, prediction, gradient, held, z_next)
        return x_t, pred_x0, z_next

    def _sent_back(self, ended: Sequence[tuple[int, Chain]], x_t: Tensor) -> _Leaving:
        """Begin to copy what the chains of `ended` restored to the host."""
        at = self._sent(torch.tensor([slot for slot, _ in ended]))
        restored = torch.where(self._keep[at], self._known[at], x_t[at])
        event = None
        if self.device.type == "cuda":
            host = torch.empty(restored.shape, pin_memory=True)
            restored = host.copy_(restored, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))  # not of the first device, whatever this one is
        return [chain for _, chain in ended], restored, event

    def _free(self, slots: Sequence[int]) -> None:
        for slot in slots:
            self.chains[slot] = None
        self._drafts.drop(slots)

    def _arrived(self, *, wait: bool) -> list[Chain]:
        done = []
        while self._leaving:
            chains, restored, event = self._leaving[0]
            if event is not None and not event.query():  # type: ignore[no-untyped-call]
                if not wait:
                    break
                event.synchronize()
            self._leaving.popleft()
            for chain, pixels in zip(chains, restored, strict=True):
                chain.restored, chain.x_t = pixels, None
                done.append(chain)
        return done

    def drain(self) -> list[Chain]:
        """Return the chains that have ended and were still on their way to the host, after waiting for them."""
        return self._arrived(wait=True)

    def states(self) -> list[tuple[Chain, Tensor]]:
        """Return every chain under way with its state, (C, H, W) float32 on the host; waits for the device."""
        host = self.x_t.cpu()
        return [(chain, host[slot].clone()) for slot, chain in enumerate(self.chains) if chain is not None]

    def take_out(self) -> list[Chain]:
        """Return every chain under way, with its state written to it, and free its slot."""
        taken = []
        for chain, x_t in self.states():
            chain.x_t = x_t
            taken.append(chain)
        self._free(range(len(self.chains)))
        return taken
