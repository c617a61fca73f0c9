"""What a results table says about a job, as numbers: pure functions from rows to figures.

A shard's sampling is taken to end when the first of its rows is encoded and to have lasted the sum of its rows' shares, as
the results table holds no other times.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

STATUSES = ("ok", "skipped", "failed")
PAUSE_SHARE = 0.08
"""Idle time longer than this share of all busy time is drawn as a break in the axis."""
PAUSE_WIDTH = 0.025
"""Width of such a break, as a share of the axis."""


@dataclass(frozen=True)
class Span:
    """A shard on a worker.

    Attributes:
        job_id: job of the shard.
        shard: its number.
        worker: node and process.
        start_s: seconds since 1970 when sampling began.
        end_s: when it ended.
        rows: rows committed.
        failed: those of them that failed.
        windows: windows sampled.
        nfe: network evaluations.
        retry: the rows were run again, by a later job than the output's first.
    """

    job_id: str
    shard: int
    worker: str
    start_s: float
    end_s: float
    rows: int
    failed: int
    windows: int
    nfe: int
    retry: bool

    @property
    def seconds(self) -> float:
        """Time that the worker spent."""
        return self.end_s - self.start_s


Weigh = Callable[[Span, float, float], float]
"""What a span adds to a bin: (span, share of the span in the bin, seconds of the bin) → value."""


@dataclass(frozen=True)
class TimeAxis:
    """Time from left (0) to right (1), long pauses folded.

    Attributes:
        pieces: rising (start_s, end_s, left, right) of every busy stretch.
    """

    pieces: tuple[tuple[float, float, float, float], ...]

    @classmethod
    def of(cls, spans: Sequence[Span]) -> "TimeAxis":
        """Return the axis that shows all `spans`."""
        merged: list[list[float]] = []
        for start, end in sorted((span.start_s, span.end_s) for span in spans):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        busy = sum(end - start for start, end in merged)
        stretches: list[list[float]] = []
        for start, end in merged:
            if stretches and start - stretches[-1][1] <= PAUSE_SHARE * busy:
                stretches[-1][1] = end
            else:
                stretches.append([start, end])
        drawn = sum(end - start for start, end in stretches) or 1.0
        folded = 1 - PAUSE_WIDTH * (len(stretches) - 1)
        pieces, left = [], 0.0
        for start, end in stretches:
            right = left + folded * (end - start) / drawn
            pieces.append((start, end, left, right))
            left = right + PAUSE_WIDTH
        return cls(tuple(pieces))

    @property
    def breaks(self) -> list[tuple[float, float]]:
        """(middle of the break, seconds left out) of every folded pause."""
        return [((a[3] + b[2]) / 2, b[0] - a[1]) for a, b in pairwise(self.pieces)]

    def __call__(self, seconds: float) -> float:
        """Return the place of a time, 0 to 1."""
        for start, end, left, right in self.pieces:
            if seconds <= end:
                share = (seconds - start) / (end - start) if end > start else 0.0
                return left + min(1.0, max(0.0, share)) * (right - left)
        return self.pieces[-1][3] if self.pieces else 0.0


@dataclass(frozen=True)
class Series:
    """A figure over time: `values[i]` holds from `edges[i]` to `edges[i + 1]` (places on a TimeAxis)."""

    edges: list[float]
    values: list[float]


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; `beyond` lie above the last."""

    edges: list[float]
    counts: list[int]
    beyond: int
    median: float | None
    missing: int


@dataclass(frozen=True)
class Figures:
    """All that the page states about a job."""

    rows: int
    statuses: dict[str, int]
    errors: list[tuple[str, int]]
    dropped: list[tuple[str, int]]
    nfe: int
    spans: list[Span] = field(repr=False)
    wall_s: float
    worker_s: float
    known_pixels_differ: int
    holes: Histogram
    seams: Histogram


def figures(rows: pa.Table, job_order: Sequence[str] = ()) -> Figures:
    """Return the figures of results rows.

    Args:
        rows: columns of `repaint_batch.schema.RESULTS`; more are ignored.
        job_order: job ids, oldest first; by default in the order in which they finished.
    """
    counted = dict(zip(*_counts(rows["status"]), strict=True))
    failed = rows.filter(pc.equal(rows["status"], "failed"))
    errors = sorted(zip(*_counts(failed["error_class"]), strict=True), key=lambda pair: (-pair[1], str(pair[0])))
    spans = shard_spans(rows, job_order)
    axis = TimeAxis.of(spans)
    return Figures(
        rows=len(rows),
        statuses={status: counted.get(status, 0) for status in STATUSES},
        errors=[(name or "unnamed", count) for name, count in errors],
        dropped=_dropped(rows),
        nfe=pc.sum(rows["nfe"]).as_py() or 0,
        spans=spans,
        wall_s=sum(end - start for start, end, _, _ in axis.pieces),
        worker_s=sum(span.seconds for span in spans),
        known_pixels_differ=pc.sum(pc.equal(rows["known_pixels_equal"], False)).as_py() or 0,
        holes=histogram(rows["hole_fraction"], 20, 0.0, 1.0),
        seams=histogram(rows["seam_score"], 24, 0.0),
    )


def _counts(column: pa.ChunkedArray) -> tuple[list[str | None], list[int]]:
    counted = pc.value_counts(column.combine_chunks())
    return counted.field("values").to_pylist(), counted.field("counts").to_pylist()


def _dropped(rows: pa.Table) -> list[tuple[str, int]]:
    """Return what pictures lost beside their pixels, and in how many rows, the commonest first."""
    names = pc.list_flatten(rows["dropped"])
    return sorted(((str(name), count) for name, count in zip(*_counts(names), strict=True)), key=lambda pair: (-pair[1], pair[0]))


def shard_spans(rows: pa.Table, job_order: Sequence[str] = ()) -> list[Span]:
    """Return every shard that was sampled, in the order in which they ended."""
    sampled = pa.table(
        {
            **{name: rows[name] for name in ("job_id", "shard", "attempt", "worker", "windows", "nfe", "inpaint_s")},
            "end_s": pc.divide(pc.cast(pc.cast(rows["finished_at"], pa.timestamp("us")), pa.int64()), 1e6),
            "failed": pc.cast(pc.equal(rows["status"], "failed"), pa.int64()),
        }
    )
    grouped = sampled.group_by(["job_id", "shard", "attempt"]).aggregate(
        [
            ("worker", "max"),
            ("end_s", "min"),
            ("inpaint_s", "sum"),
            ("windows", "sum"),
            ("nfe", "sum"),
            ("failed", "sum"),
            ("failed", "count"),
        ]
    )
    found = [row for row in grouped.to_pylist() if row["worker_max"] and row["end_s_min"] is not None]
    found.sort(key=lambda row: (row["end_s_min"], row["shard"]))
    order = list(job_order) or list(dict.fromkeys(row["job_id"] for row in found))
    return [
        Span(
            job_id=row["job_id"],
            shard=row["shard"],
            worker=row["worker_max"],
            start_s=row["end_s_min"] - (row["inpaint_s_sum"] or 0.0),
            end_s=row["end_s_min"],
            rows=row["failed_count"],
            failed=row["failed_sum"],
            windows=row["windows_sum"] or 0,
            nfe=row["nfe_sum"] or 0,
            retry=row["job_id"] != order[0],
        )
        for row in found
    ]


def throughput(spans: Sequence[Span], axis: TimeAxis, bins: int = 72) -> Series:
    """Return rows a second over time, each shard's rows spread evenly over its span."""
    return _over_time(spans, axis, bins, lambda span, share, width_s: span.rows * share / width_s)


def _over_time(spans: Sequence[Span], axis: TimeAxis, bins: int, weigh: Weigh) -> Series:
    edges: list[float] = []
    values: list[float] = []
    for start, end, left, right in axis.pieces:
        if edges:  # nothing happened in the folded pause
            values.append(0.0)
        count = max(1, round(bins * (right - left)))
        step_s = max((end - start) / count, 1e-9)
        sums = np.zeros(count)
        for span in spans:
            if span.end_s < start or span.start_s > end:
                continue
            length = max(span.seconds, 1e-9)
            first = min(count - 1, max(0, int((span.start_s - start) / step_s)))
            last = min(count - 1, max(0, int((span.end_s - start) / step_s)))
            for at in range(first, last + 1):
                low, high = start + at * step_s, start + (at + 1) * step_s
                overlap = max(0.0, min(high, span.end_s) - max(low, span.start_s)) if span.seconds else length
                sums[at] += weigh(span, overlap / length, step_s)
        edges += [left + (right - left) * at / count for at in range(count + 1)]
        values += sums.tolist()
    return Series(edges, values)


def histogram(column: pa.ChunkedArray, bins: int, low: float, high: float | None = None) -> Histogram:
    """Return counts of a column's finite values; without `high`, up to a round number past 99 of 100 of them."""
    values = np.asarray(column.drop_null().to_numpy(), dtype=np.float64)
    values = values[np.isfinite(values)]
    if high is None:
        high = _round_up(float(np.quantile(values, 0.99))) if len(values) else 1.0
    counts, edges = np.histogram(values, bins, (low, max(high, low + 1e-9)))
    median = float(np.median(values)) if len(values) else None
    return Histogram(edges.tolist(), counts.tolist(), int((values > high).sum()), median, len(column) - len(values))


def _round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    steps: Iterable[float] = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= value * (1 - 1e-9)))
