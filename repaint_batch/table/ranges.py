"""Rows of a manifest as plain data: sorted, disjoint, half-open ranges.

Set algebra by one sweep over the ranges' ends, O(n log n) in the number of ranges and independent of how many rows they hold.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

Span = tuple[int, int]
"""(first row, row after the last)."""


@dataclass(frozen=True)
class Ranges:
    """A set of rows.

    Attributes:
        spans: (start, stop) of each range, ascending, with at least one row between two of them.
    """

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, *spans: Span) -> "Ranges":
        """Return the rows of any spans, which may overlap and come in any order; a span that ends where it starts is empty."""
        return cls(tuple(_joined(sorted(span for span in spans if span[0] < span[1]))))

    @classmethod
    def of_rows(cls, rows: Iterable[int]) -> "Ranges":
        """Return single rows as ranges."""
        return cls.of(*((row, row + 1) for row in rows))

    def __or__(self, other: "Ranges") -> "Ranges":
        return Ranges.of(*self.spans, *other.spans)

    def __and__(self, other: "Ranges") -> "Ranges":
        return self._swept(other, lambda here, there: here and there)

    def __sub__(self, other: "Ranges") -> "Ranges":
        return self._swept(other, lambda here, there: here and not there)

    def __contains__(self, row: int) -> bool:
        return self.covers(row, row + 1)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(range(start, stop) for start, stop in self.spans)

    def covers(self, start: int, stop: int) -> bool:
        """Return whether all rows of [start, stop) are in the set."""
        at = bisect_right(self.spans, start, key=itemgetter(0)) - 1
        return start >= stop or (at >= 0 and stop <= self.spans[at][1])

    def cut(self, rows: int) -> Iterator[Span]:
        """Yield the ranges in pieces of at most `rows` rows."""
        for start, stop in self.spans:
            for first in range(start, stop, rows):
                yield first, min(first + rows, stop)

    def _swept(self, other: "Ranges", wanted: Callable[[bool, bool], bool]) -> "Ranges":
        # Every start and stop is where one of the two sets changes between "in" and "out".
        ends = sorted([(at, 0) for span in self.spans for at in span] + [(at, 1) for span in other.spans for at in span])
        inside, since, spans = [False, False], 0, []
        for at, which in ends:
            if since < at and wanted(*inside):
                spans.append((since, at))
            inside[which] = not inside[which]
            since = at
        return Ranges(tuple(_joined(spans)))


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield ascending spans with those that touch or overlap made one."""
    last: Span | None = None
    for start, stop in spans:
        if last is not None and start <= last[1]:
            last = last[0], max(last[1], stop)
        else:
            if last is not None:
                yield last
            last = start, stop
    if last is not None:
        yield last
