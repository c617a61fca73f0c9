"""Pictures of any size through a pipeline that knows windows: round after round, those of all pictures batched together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from repaint_batch.images.restoration import Prepared
from repaint_batch.images.rounds import given
from repaint_batch.images.windows import Window
from repaint_batch.inpainting.pipeline import Checkpoint, RePaintPipeline
from repaint_batch.sampler.presets import Sampler
from repaint_batch.sampler.repaint import ChainState


@dataclass(frozen=True, eq=False)
class Unrestored:
    """A picture's windows.

    Attributes:
        windows: (N, R, R, 3) float32 in [-1, 1].
        keep_mask: (N, R, R) bool, True = known pixel.
        plan: where they lie, and in what order they are restored.
        orientation: EXIF orientation of the picture.
        keys: N noise keys.
    """

    windows: np.ndarray
    keep_mask: np.ndarray
    plan: tuple[Window, ...]
    orientation: int
    keys: Sequence[int]

    @classmethod
    def of(cls, prepared: Prepared, keys: Sequence[int]) -> "Unrestored":
        """Return the windows that `repaint_batch.images.restoration.prepare` cut."""
        return cls(prepared.windows, prepared.keep_mask, prepared.plan, prepared.orientation, keys)


def nfe_of(plan: Sequence[Window], sampler: Sampler) -> int:
    """Return the network evaluations that windows cost; those that start from a draft enter late."""
    late = sum(window.parent is not None for window in plan)
    return sampler.nfe * (len(plan) - late) + (sampler.entry_nfe * late if late else 0)


def restore_pictures(
    pipeline: RePaintPipeline,
    pictures: Sequence[Unrestored],
    *,
    sampler: Sampler,
    batch_windows: int,
    checkpoint: Checkpoint | None = None,
) -> list[np.ndarray]:
    """Return every picture's restored windows, (N, R, R, 3) float32 in [-1, 1], for `compose`.

    Args:
        pipeline: holds the prior.
        pictures: each comes out the same whatever else is in the call.
        sampler, batch_windows, checkpoint: as `RePaintPipeline.restore` takes them; `checkpoint` sees the windows of
            all rounds in their order.

    Raises:
        PriorError, ConfigError: as `RePaintPipeline.restore` raises them.
    """
    results: list[list[np.ndarray | None]] = [[None] * len(picture.plan) for picture in pictures]
    done, state = checkpoint.load() if checkpoint else (None, None)
    finished = 0 if done is None else len(done)
    before: list[Tensor] = []
    count = 0
    for members in _rounds(pictures):
        end = count + len(members)
        if done is not None and finished >= end:
            restored = done[count:end]
        else:
            part = None
            if checkpoint is not None:
                part = _Round(checkpoint, before, done[count:] if done is not None and finished > count else None, state)
            restored = _restore_round(pipeline, pictures, members, results, sampler, batch_windows, part)
            done = state = None
        for (picture, window), pixels in zip(members, restored.movedim(1, -1).cpu().numpy(), strict=True):
            results[picture][window] = np.ascontiguousarray(pixels)
        before.append(restored)
        count = end
    return [np.stack([window for window in windows if window is not None]) for windows in results]


Member = tuple[int, int]
"""Number of a picture, and of a window of it."""


def _rounds(pictures: Sequence[Unrestored]) -> Iterator[list[Member]]:
    """Yield windows that can be restored together: of one round, and all from noise or all from drafts."""
    members: dict[tuple[int, bool], list[Member]] = {}
    for i, picture in enumerate(pictures):
        for j, window in enumerate(picture.plan):
            members.setdefault((window.round, window.parent is not None), []).append((i, j))
    for together in sorted(members):
        yield members[together]


def _restore_round(
    pipeline: RePaintPipeline,
    pictures: Sequence[Unrestored],
    members: Sequence[Member],
    results: Sequence[Sequence[np.ndarray | None]],
    sampler: Sampler,
    batch_windows: int,
    checkpoint: "Checkpoint | None",
) -> Tensor:
    """Return (M, 3, R, R) restored windows of `members`."""
    found = [
        given(pictures[i].plan, pictures[i].orientation, j, pictures[i].windows[j], pictures[i].keep_mask[j], results[i])
        for i, j in members
    ]
    drafts = [one.coarse for one in found if one.coarse is not None]
    return pipeline.restore(
        torch.from_numpy(np.stack([one.known for one in found])).movedim(-1, 1).contiguous(),
        torch.from_numpy(np.stack([one.keep_mask for one in found]))[:, None],
        [pictures[i].keys[j] for i, j in members],
        sampler=sampler,
        batch_windows=batch_windows,
        coarse=torch.from_numpy(np.stack(drafts)).movedim(-1, 1).contiguous() if drafts else None,
        checkpoint=checkpoint,
    )


@dataclass(frozen=True, eq=False)
class _Round:
    """The part of a checkpoint that is of one round."""

    whole: Checkpoint
    before: Sequence[Tensor]
    done: Tensor | None
    state: ChainState | None

    def load(self) -> tuple[Tensor | None, ChainState | None]:
        return self.done, self.state

    def save(self, restored: Sequence[Tensor], state: ChainState) -> None:
        self.whole.save([*self.before, *restored], state)
