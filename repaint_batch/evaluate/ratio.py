"""Ratios of times that were measured in turns, and whether they say anything.

Two things take turns; r_i is the ratio of their times in round i, so that whatever else the machine does in a round slows both.
The median of r is claimed, with an interval that asks nothing of its distribution: of n rounds in order,

    P(r_(k) <= median <= r_(n+1-k)) = 1 - 2 * sum over i < k of C(n, i) / 2^n

and the largest k for which this is 95 % or more is taken. With five rounds there is none. An interval whose ends are more than
half apart supports no ratio: then other work came and went within rounds too.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_ROUNDS = 6
_MOST_SPREAD = 1.5
_CONFIDENCE = 0.95
_BUSY_SHARE = 0.5


@dataclass(frozen=True)
class Ratio:
    """How many times as much one thing takes as another.

    Attributes:
        rounds: ratios within each round.
    """

    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        """The median over rounds."""
        return float(statistics.median(self.rounds))

    @property
    def interval(self) -> tuple[float, float]:
        """Where the median lies with 95 % confidence; the least and the greatest round where there are too few rounds for it."""
        ordered, n = sorted(self.rounds), len(self.rounds)
        outside, k = 2 / 2**n, 1
        while k < (n + 1) // 2 and outside + 2 * math.comb(n, k) / 2**n <= 1 - _CONFIDENCE:
            outside, k = outside + 2 * math.comb(n, k) / 2**n, k + 1
        return ordered[k - 1], ordered[n - k]

    @property
    def refusal(self) -> str | None:
        """Why the rounds support no ratio; None if they do."""
        low, high = self.interval
        if len(self.rounds) < LEAST_ROUNDS:
            return f"{len(self.rounds)} rounds, and {LEAST_ROUNDS} are needed"
        if high > _MOST_SPREAD * low:
            return f"rounds say from {low:.3g} to {high:.3g}; measure again on a machine that does nothing else"
        return None

    def __str__(self) -> str:
        if self.refusal:
            return f"not supported: {self.refusal}"
        low, high = self.interval
        return f"{self.value:.3g}× ({low:.3g} to {high:.3g})"


def ratio(dividend_s: Sequence[float], divisor_s: Sequence[float]) -> Ratio:
    """Return the ratio of seconds that were measured in the same rounds."""
    return Ratio(tuple(a / b for a, b in zip(dividend_s, divisor_s, strict=True)))


def busy(load: float, cores: int) -> str | None:
    """Return what to say of a machine that does other work, by its load before anything was measured; None if it does not."""
    if load < _BUSY_SHARE * cores:
        return None
    return f"this machine is busy: load {load:.1f} on {cores} cores; seconds are too long, and ratios may not be supported"
