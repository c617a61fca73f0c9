"""The path through noise levels as data: down with the network, up with noise.

Index t stands for the noise level alpha_bar[t]; -1 is the clean picture. `jump_times` gives every level visited,
`moves` turns it into steps down and up, and `folded` each jump up into the step before it.

Source: Lugmayr et al., CVPR 2022, algorithm 1 and appendix on the jump schedule.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Jump:
    """Resampling at every multiple of `length`: go up `length` levels, `n_sample` - 1 times."""

    length: int
    n_sample: int


@dataclass(frozen=True)
class Reverse:
    """One step down, from level `index` to `index` - 1, at the cost of one network evaluation."""

    index: int


@dataclass(frozen=True)
class Undo:
    """Noise added from level `start` up to level `stop`, in one Gaussian."""

    start: int
    stop: int


Move = Reverse | Undo


def jump_times(num_steps: int, jumps: Sequence[Jump], n_sample: int = 1, start_resampling: int | None = None) -> list[int]:
    """Return every level visited, from `num_steps` - 1 to -1.

    Args:
        num_steps: levels of the (respaced) process.
        jumps: outermost first; whenever an outer jump fires, the inner ones may fire again on the stretch below.
        n_sample: how often each single step is repeated on the way (1: once).
        start_resampling: highest level that a jump may end on; by default all.
    """
    ceiling = num_steps if start_resampling is None else start_resampling
    left = [_fresh(jump, num_steps) for jump in jumps]
    times: list[int] = []
    t = num_steps
    while t > 0:
        t -= 1
        times.append(t)
        if t + 1 < num_steps - 1 and t <= ceiling:
            times += [t + 1, t] * (n_sample - 1)
        for depth in reversed(range(len(jumps))):
            jump = jumps[depth]
            if left[depth].get(t, 0) > 0 and t <= ceiling - jump.length:
                left[depth][t] -= 1
                left[depth + 1 :] = [_fresh(inner, num_steps) for inner in jumps[depth + 1 :]]
                times += range(t + 1, t + jump.length + 1)
                t += jump.length
    return [*times, -1]


def _fresh(jump: Jump, num_steps: int) -> dict[int, int]:
    return dict.fromkeys(range(0, num_steps - jump.length, jump.length), jump.n_sample - 1)


def moves(times: Sequence[int], *, collapse_undo: bool = True) -> Iterator[Move]:
    """Yield the moves between consecutive `times`.

    Args:
        times: as `jump_times` gives them.
        collapse_undo: join the single steps of a jump; the law is the same and only one Gaussian is drawn.
    """
    start: int | None = None
    for here, there in pairwise(times):
        if there < here:
            if start is not None:
                yield Undo(start, here)
                start = None
            yield Reverse(here)
        elif collapse_undo:
            start = here if start is None else start
        else:
            yield Undo(here, there)


def nfe(times: Sequence[int]) -> int:
    """Return the network evaluations a path costs."""
    return sum(there < here for here, there in pairwise(times))


def folded(path: Sequence[Move]) -> Iterator[tuple[Reverse, int]]:
    """Yield every step down, with the level that the path is at when the next one begins (-1: the clean picture)."""
    for number, move in enumerate(path):
        if isinstance(move, Reverse):
            level = move.index - 1
            for later in path[number + 1 :]:
                if isinstance(later, Reverse):
                    break
                level = later.stop
            yield move, level
