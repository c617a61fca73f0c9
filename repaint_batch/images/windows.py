"""Where a prior of R x R pixels is put to work on a picture of any size: the plan, from the mask alone.

Holes are covered by few square windows, each with known surroundings, see `repaint_batch.images.covering`. At scale 1 a
window has the prior's own size and is cut pixel for pixel. A hole too large for that is restored coarse to fine: a
larger window makes a draft, windows of half its side or less start from it and keep to its colours
(`repaint_batch.sampler.drafts`), and so on down to scale 1 or as far as the number of windows allows.

Windows of one scale that overlap agree because they are solved one after another: what an earlier one restored is known to
a later one. Windows that do not touch share a round, so that batches stay full.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from repaint_batch.images.box import Box, trimmed
from repaint_batch.images.covering import cover

_COARSE = 1.5
"""Scale from which a restoration is a draft: enlarged by less it is as good as one at scale 1."""
_STEP = 1.4
"""Least factor between the scales of a draft and what starts from it."""
_FINER = 512
"""Windows that finer scales of a picture's large holes may take in all."""


@dataclass(frozen=True)
class Window:
    """One square that the prior restores.

    Attributes:
        left, top: corner in pixels of the picture as stored; the square may reach past a picture's right and lower end.
        side_px: side in the picture's pixels; the prior's resolution at scale 1, more for a coarse window.
        duty: box of the holes that this window was planned for.
        round: windows of earlier rounds are restored before it.
        parent: number in the plan of the coarser window whose restoration this one starts from; None: from noise.
    """

    left: int
    top: int
    side_px: int
    duty: Box
    round: int = 0
    parent: int | None = None

    @property
    def square(self) -> Box:
        """The window as a box."""
        return (self.left, self.top, self.left + self.side_px, self.top + self.side_px)


def plan_windows(keep_mask: np.ndarray, resolution_px: int, context: float = 0.125, most: int = 2048) -> tuple[Window, ...]:
    """Return the windows to sample for a mask, none for an empty one; parents stand before their children.

    Args:
        keep_mask: (H, W) bool, True = known pixel.
        resolution_px: side R of the prior's input.
        context: share of a window's side that stays free of its duty at each edge, where the picture allows.
        most: finer scales are left out if they would take more windows than this; there may be more all the same.
    """
    hole = ~keep_mask
    height, width = hole.shape
    plan = [_place(duty, side, resolution_px, (0, 0, width, height)) for duty, side in cover(hole, resolution_px, context)]
    drafts = [i for i, window in enumerate(plan) if window.side_px >= _COARSE * resolution_px]
    allowed = min(most, len(plan) + _FINER)
    while drafts and len(plan) <= allowed:
        coarsest = max(plan[i].side_px for i in drafts)
        finer = [
            replace(child, parent=i)
            for i in drafts
            if plan[i].side_px == coarsest
            for child in _children(plan[i], hole, resolution_px, context)
        ]
        if len(plan) + len(finer) > allowed:
            break
        drafts = [i for i in drafts if plan[i].side_px < coarsest]
        drafts += [len(plan) + i for i, child in enumerate(finer) if child.side_px > resolution_px]
        plan += finer
    return _in_rounds(plan, resolution_px) if 1 < len(plan) <= most else tuple(plan)


def leaves(plan: Sequence[Window]) -> list[int]:
    """Return the numbers of the windows whose restorations are final: those that nothing finer starts from."""
    drafts = {window.parent for window in plan}
    return [i for i in range(len(plan)) if i not in drafts]


def donors(plan: Sequence[Window], resolution_px: int) -> list[list[int]]:
    """Return for every window, in the order of their rounds, the windows whose restored duties are known to it."""
    if not plan:
        return []
    left, top, side, turn = np.array([(w.left, w.top, w.side_px, w.round) for w in plan]).T
    duties = np.array([window.duty for window in plan])
    found: list[list[int]] = []
    for number, mine in enumerate(plan):
        pitch, rest = divmod(mine.side_px, resolution_px)
        if rest:
            found.append([])
            continue
        shares = (side == mine.side_px) & ((left - mine.left) % pitch == 0) & ((top - mine.top) % pitch == 0)
        box = mine.square
        touches = (box[0] < duties[:, 2]) & (duties[:, 0] < box[2]) & (box[1] < duties[:, 3]) & (duties[:, 1] < box[3])
        others = np.flatnonzero((turn < turn[number]) & shares & touches)
        found.append(others[np.argsort(turn[others], kind="stable")].tolist())
    return found


def _children(parent: Window, hole: np.ndarray, resolution_px: int, context: float) -> list[Window]:
    """Return the windows of the next finer scale that share the duty of `parent` between them."""
    side = resolution_px << int(math.log2(parent.side_px / resolution_px / _STEP))
    pitch = side // resolution_px
    core = max(1, min(int(side * (1 - 2 * context)), side - 2 * pitch))
    left, top, right, bottom = parent.duty
    found = []
    for low in _spans(top, bottom, core):
        for near in _spans(left, right, core):
            duty = trimmed(hole, (near[0], low[0], near[1], low[1]))
            if duty is not None:
                found.append(_place(duty, side, resolution_px, _common(parent.square, hole.shape)))
    return found


def _spans(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    return [(low, min(low + longest, stop)) for low in range(start, stop, longest)]


def _common(square: Box, shape: tuple[int, ...]) -> Box:
    return (square[0], square[1], min(square[2], shape[1]), min(square[3], shape[0]))


def _in_rounds(plan: Sequence[Window], resolution_px: int) -> tuple[Window, ...]:
    """Return `plan` with rounds: a child's after its parent's, and those of windows that know each other's pixels apart."""
    done: list[Window] = []
    # By scale and square of its side: windows that touch lie in neighbouring ones.
    near: dict[tuple[int, int, int], list[Window]] = {}
    for window in plan:
        side = window.side_px
        column, row = window.left // side, window.top // side
        around = [(side, column + right, row + down) for right in (-1, 0, 1) for down in (-1, 0, 1)]
        taken = {
            other.round
            for square in around
            for other in near.get(square, ())
            if _share_pixels(window, other, resolution_px)
            and (_touch(window.square, other.duty) or _touch(other.square, window.duty))
        }
        first = 0 if window.parent is None else done[window.parent].round + 1
        done.append(replace(window, round=next(i for i in range(first, first + len(taken) + 1) if i not in taken)))
        near.setdefault((side, column, row), []).append(done[-1])
    return tuple(done)


def _share_pixels(one: Window, other: Window, resolution_px: int) -> bool:
    """Return whether both windows see the picture in the same pixels: at one scale, on one grid."""
    pitch, rest = divmod(one.side_px, resolution_px)
    return (
        one.side_px == other.side_px and not rest and (one.left - other.left) % pitch == 0 and (one.top - other.top) % pitch == 0
    )


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _place(duty: Box, side: int, resolution_px: int, frame: Box) -> Window:
    """Return a window centred on its duty, moved into `frame` as far as it fits, on the grid of its scale if that has one."""
    pitch = side // resolution_px if side % resolution_px == 0 else 1

    def along(low: int, high: int, start: int, stop: int) -> int:
        if stop - start <= side:
            return start  # what is missing of the square is mirrored in behind the picture's end
        at = min(max((low + high - side) // 2, start), stop - side)
        for on_grid in (at - at % pitch, at + -at % pitch):
            if max(high - side, start) <= on_grid <= low:
                return on_grid
        return at

    left = along(duty[0], duty[2], frame[0], frame[2])
    return Window(left, along(duty[1], duty[3], frame[1], frame[3]), side, duty)
