"""Pictures of any size through an engine that knows windows.

A window is ready as soon as those that it builds on have been restored: its draft, and the neighbours whose pixels it is given.
So windows of any picture, round and candidate share the batch, and a picture's next ones need not wait for other pictures.

Of the ready windows, those whose picture came early and that have many steps still to follow in sequence go first: by the call at
which it came, minus those steps. Thus long chains of windows begin early, and none is left to run alone at the end; a picture
is not overtaken by pictures that arrive after the time it would take on its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from repaint_batch.images.orientation import stored, upright
from repaint_batch.images.restoration import Prepared
from repaint_batch.images.rounds import given
from repaint_batch.images.windows import Window, donors
from repaint_batch.inpainting.engine import Engine
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.slots import Chain


class Windows(Protocol):
    """Windows by number."""

    def __getitem__(self, number: int, /) -> np.ndarray:
        """Return one of them, (R, R, 3) float32 in [-1, 1]."""


@dataclass(frozen=True, eq=False)
class Unrestored:
    """A picture's windows.

    Attributes:
        windows: N of (R, R, 3) float32 in [-1, 1]; an array, or what makes one when it is asked for.
        keep_mask: (N, R, R) bool, True = known pixel.
        plan: where they lie, and in what order they are restored.
        orientation: EXIF orientation of the picture; its windows are as stored, and turned upright for the network alone.
        keys: N noise keys.
        label: class, where the prior has classes and this picture brings its own.
    """

    windows: Windows
    keep_mask: np.ndarray
    plan: tuple[Window, ...]
    orientation: int
    keys: Sequence[int]
    label: int = 0

    @classmethod
    def of(cls, prepared: Prepared, keys: Sequence[int]) -> "Unrestored":
        """Return the windows that `repaint_batch.images.restoration.prepare` cut."""
        return cls(prepared.windows, prepared.keep_mask, prepared.plan, prepared.orientation, keys)


@dataclass(frozen=True, eq=False)
class Saved:
    """What an interrupted restoration of a picture had done.

    Attributes:
        restored: (n, 3) float32 hole pixels of the windows that had ended, by number.
        states: position and (3, R, R) float32 state of those under way, by number.
    """

    restored: Mapping[int, np.ndarray] = field(default_factory=dict)
    states: Mapping[int, tuple[int, Tensor]] = field(default_factory=dict)


def nfe_of(plan: Sequence[Window], sampler: Sampler) -> int:
    """Return the network evaluations that windows cost; those that start from a draft enter late."""
    late = sum(window.parent is not None for window in plan)
    return sampler.nfe * (len(plan) - late) + (sampler.entry_nfe * late if late else 0)


def longest_paths(needs: Sequence[set[int]], steps: Sequence[int]) -> list[int]:
    """Return, for every window, the steps from its start to the end of the last that cannot start before it ends.

    Args:
        needs: of every window those that end before it starts, see `needs_of`.
        steps: of every window its own.
    """
    followers: list[list[int]] = [[] for _ in needs]
    for number, need in enumerate(needs):
        for earlier in need:
            followers[earlier].append(number)
    missing = [len(need) for need in needs]
    order = [number for number, count in enumerate(missing) if not count]
    for number in order:  # it grows meanwhile
        for later in followers[number]:
            missing[later] -= 1
            if not missing[later]:
                order.append(later)
    paths = list(steps)
    for number in reversed(order):
        paths[number] += max((paths[later] for later in followers[number]), default=0)
    return paths


def needs_of(plan: Sequence[Window], given_by: Sequence[Sequence[int]]) -> list[set[int]]:
    """Return, for every window, the numbers of those that end before it starts: its draft, and its donors `given_by`."""
    needs = [set(others) for others in given_by]
    for need, window in zip(needs, plan, strict=True):
        if window.parent is not None:
            need.add(window.parent)
    return needs


class RestoredWindows(Sequence[np.ndarray | None]):
    """Windows that have ended, of which the pixels of holes are kept: all others are the picture's.

    Attributes:
        pixels: (n, 3) float32 of every window that has ended, None of the others.
    """

    def __init__(self, picture: Unrestored) -> None:
        self._picture = picture
        self.pixels: list[np.ndarray | None] = [None] * len(picture.plan)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, number: Any) -> Any:
        pixels = self.pixels[number]
        if pixels is None:
            return None
        window = np.array(self._picture.windows[number], np.float32)
        window[~self._picture.keep_mask[number]] = pixels
        return window


class Underway:
    """A picture that is being restored.

    Args:
        picture: its windows.
        saved: what an earlier, interrupted run had done.

    Attributes:
        restored: (R, R, 3) float32 in [-1, 1] of every window that has ended, as stored, None of the others.
    """

    def __init__(self, picture: Unrestored, saved: Saved | None = None) -> None:
        self.picture = picture
        self._saved = saved or Saved()
        self.restored = RestoredWindows(picture)
        self._donors = donors(picture.plan, picture.keep_mask.shape[1])
        self._needs = needs_of(picture.plan, self._donors)
        self._unstarted = set(range(len(picture.plan)))
        self._missing = len(picture.plan)
        for number, pixels in self._saved.restored.items():
            self._unstarted.discard(number)
            self._end(number, pixels)

    @property
    def is_done(self) -> bool:
        """Whether every window has ended."""
        return self._missing == 0

    def paths(self, engine: Engine) -> list[int]:
        """Return of every window how many steps follow one after the other from its start on."""
        steps = [engine.steps_of(drafted=window.parent is not None) for window in self.picture.plan]
        return longest_paths(self._needs, steps)

    def end(self, number: int, window: np.ndarray) -> None:
        """Take a window that the network has restored, (R, R, 3) float32, upright."""
        self._end(number, stored(window, self.picture.orientation)[~self.picture.keep_mask[number]])

    def _end(self, number: int, pixels: np.ndarray) -> None:
        self.restored.pixels[number] = pixels
        self._missing -= 1
        for need in self._needs:
            need.discard(number)

    def start(self) -> list[int]:
        """Return the numbers of windows that have become ready."""
        ready = sorted(number for number in self._unstarted if not self._needs[number])
        self._unstarted -= set(ready)
        return ready

    def chain(self, number: int) -> Chain:
        """Return the chain of a window that is ready."""
        picture = self.picture
        keep = picture.keep_mask[number]
        pixels, others = picture.windows[number], self._donors[number]
        one = given(picture.plan, number, pixels, keep, self.restored, others)
        position, x_t = self._saved.states.get(number, (0, None))
        return Chain(
            key=picture.keys[number],
            known=_tensor(one.known, picture.orientation),
            keep_mask=torch.from_numpy(np.ascontiguousarray(upright(one.keep_mask, picture.orientation)))[None],
            draft=None if one.coarse is None else _tensor(one.coarse, picture.orientation),
            label=picture.label,
            position=position,
            x_t=x_t,
        )


def _tensor(pixels: np.ndarray, orientation: int) -> Tensor:
    """Return stored pixels (R, R, 3) as the network sees them: (3, R, R) float32, upright."""
    return torch.from_numpy(np.ascontiguousarray(upright(pixels, orientation).transpose(2, 0, 1), dtype=np.float32))


class Restorer:
    """Restores pictures, however many are under way at once; each comes out the same whatever the others are.

    Args:
        engine: what samples their windows.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._owners: dict[Chain, tuple[Underway, int]] = {}
        self._ranks: dict[Underway, list[int]] = {}
        self._whole: list[Underway] = []

    @property
    def is_idle(self) -> bool:
        """Whether every picture has come out."""
        return not self._ranks and not self._whole

    def add(self, picture: Unrestored, saved: Saved | None = None) -> Underway:
        """Take a picture, and what an interrupted run had done of it."""
        underway = Underway(picture, saved)
        if underway.is_done:
            self._whole.append(underway)
        else:
            self._ranks[underway] = [self.engine.calls - path for path in underway.paths(self.engine)]
            self._start(underway)
        return underway

    def _start(self, underway: Underway) -> None:
        for number in underway.start():
            # Unpacked when there is a slot for it: a picture full of dust has hundreds that are ready.
            self.engine.enqueue(partial(self._chain, underway, number), self._ranks[underway][number])

    def _chain(self, underway: Underway, number: int) -> Chain:
        chain = underway.chain(number)
        self._owners[chain] = underway, number
        return chain

    def step(self) -> list[Underway]:
        """Take one step; return the pictures that were finished by it.

        Raises:
            PriorError, ConfigError: as `Engine.step` raises them.
        """
        finished, self._whole = self._whole, []
        for chain in self.engine.step() if self._ranks else []:
            underway, number = self._owners.pop(chain)
            assert chain.restored is not None  # it has come out
            underway.end(number, chain.restored.numpy().transpose(1, 2, 0))
            self._start(underway)
            if underway.is_done:
                del self._ranks[underway]
                finished.append(underway)
        return finished

    def states(self) -> dict[Underway, dict[int, tuple[int, Tensor]]]:
        """Return position and state, (3, R, R) float32, of every window under way, by picture and number."""
        found: dict[Underway, dict[int, tuple[int, Tensor]]] = {}
        for chain, x_t in self.engine.states():
            underway, number = self._owners[chain]
            found.setdefault(underway, {})[number] = chain.position, x_t
        return found


def restore_pictures(
    engine: Engine, pictures: Sequence[Unrestored], on_step: Callable[[Restorer], None] | None = None
) -> list[np.ndarray]:
    """Return every picture's restored windows, (N, R, R, 3) float32 in [-1, 1], for `compose`.

    Args:
        engine: what samples them.
        pictures: each comes out the same whatever else is in the call.
        on_step: called after every step.

    Raises:
        PriorError, ConfigError: as `Engine.step` raises them.
    """
    restorer = Restorer(engine)
    underway = [restorer.add(picture) for picture in pictures]
    while not restorer.is_idle:
        restorer.step()
        if on_step is not None:
            on_step(restorer)
    return [np.stack([window for window in one.restored if window is not None]) for one in underway]
