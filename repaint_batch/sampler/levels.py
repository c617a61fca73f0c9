"""What samplers that only descend share: the levels that they visit."""

from collections.abc import Iterator, Sequence

from repaint_batch.sampler.schedule import NoiseSchedule


def power_grid(count: int, power: float, length: int) -> tuple[int, ...]:
    """Return `count` falling indices of a process of `length` steps, (length - 1) u^power for u = 1 .. 1/count.

    A power over 1 is coarse where noise is strong and fine where it is weak. Indices may repeat at the low end.
    """
    return tuple(round((length - 1) * ((count - i) / count) ** power) for i in range(count))


def levels_of(schedule: NoiseSchedule, indices: Sequence[int]) -> Iterator[tuple[int, float, float, float, float]]:
    """Yield (index, a, s, a', s') of every level and the one after it; the last is followed by the clean picture."""
    signal, sigma = schedule.alpha_bar.sqrt().tolist(), (1 - schedule.alpha_bar).sqrt().tolist()
    after = [(signal[i], sigma[i]) for i in indices[1:]] + [(1.0, 0.0)]
    for i, (a_next, s_next) in zip(indices, after, strict=True):
        yield i, signal[i], sigma[i], a_next, s_next
