"""Geometry of the report's figures: places and sizes in per cent of the drawing, ready for the template.

The template stretches the drawings (`preserveAspectRatio="none"`) and sets all words in HTML, so that they stay readable on
a telephone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from repaint_batch.report.figures import Figures, Histogram, Series, Span, TimeAxis, throughput
from repaint_batch.report.progress import duration

MAX_BARS = 4000
"""Shards that a timeline draws one by one; beyond, neighbours on a lane are joined."""
MAX_LANES = 48


@dataclass(frozen=True)
class Bar:
    """A rectangle with words; `failed` is the height of the part of it that failed."""

    x: float
    y: float
    width: float
    height: float
    words: str
    retry: bool = False
    failed: float = 0.0


@dataclass(frozen=True)
class Area:
    """A filled curve: `path` in a 100 by 100 drawing, `top` the figure that its full height stands for."""

    path: str
    top: float
    words: str


@dataclass(frozen=True)
class Lane:
    """A worker's row of the timeline."""

    worker: str
    bars: list[Bar]


@dataclass(frozen=True)
class Ticks:
    """Words along the time axis: (place in per cent, words), and the folded pauses."""

    labels: list[tuple[float, str]]
    breaks: list[tuple[float, str]]
    start: str


@dataclass(frozen=True)
class Charts:
    """All drawings of the page; those over time are None where nothing was sampled."""

    throughput: Area | None
    lanes: list[Lane]
    lanes_left_out: int
    ticks: Ticks | None
    holes: list[Bar]
    seams: list[Bar]


def charts(numbers: Figures) -> Charts:
    """Return every drawing of the page."""
    axis = TimeAxis.of(numbers.spans)
    holes, seams = _bars(numbers.holes, "pictures"), _bars(numbers.seams, "pictures")
    if not numbers.spans:
        return Charts(None, [], 0, None, holes, seams)
    rate = throughput(numbers.spans, axis)
    lanes = _lanes(numbers.spans, axis)
    return Charts(
        throughput=_area(rate, max(rate.values), "Images a second over time: at most {:.2f}"),
        lanes=lanes[:MAX_LANES],
        lanes_left_out=max(0, len(lanes) - MAX_LANES),
        ticks=_ticks(axis),
        holes=holes,
        seams=seams,
    )


def _area(series: Series, top: float, words: str) -> Area:
    top = top or 1.0
    pairs = zip(series.edges, series.edges[1:], series.values, strict=False)
    steps = [f"L{100 * a:.2f} {100 - 100 * v / top:.2f}L{100 * b:.2f} {100 - 100 * v / top:.2f}" for a, b, v in pairs]
    return Area(f"M{100 * series.edges[0]:.2f} 100{''.join(steps)}L{100 * series.edges[-1]:.2f} 100Z", top, words.format(top))


def _bars(histogram: Histogram, noun: str) -> list[Bar]:
    tallest = max(histogram.counts, default=0) or 1
    width = 100 / max(1, len(histogram.counts))
    return [
        Bar(
            x=number * width + 0.04 * width,
            y=100 - 100 * count / tallest,
            width=0.92 * width,
            height=100 * count / tallest,
            words=f"{histogram.edges[number]:.2f} to {histogram.edges[number + 1]:.2f}: {count:,} {noun}",
        )
        for number, count in enumerate(histogram.counts)
    ]


def _lanes(spans: Sequence[Span], axis: TimeAxis) -> list[Lane]:
    by_worker: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_s):
        by_worker.setdefault(span.worker, []).append(span)
    joined = -(-len(spans) // MAX_BARS)
    return [
        Lane(worker, [_shards(own[at : at + joined], axis) for at in range(0, len(own), joined)])
        for worker, own in by_worker.items()
    ]


def _shards(spans: Sequence[Span], axis: TimeAxis) -> Bar:
    left, right = axis(spans[0].start_s), axis(spans[-1].end_s)
    rows, failed = sum(span.rows for span in spans), sum(span.failed for span in spans)
    name = f"Shard {spans[0].shard}" if len(spans) == 1 else f"{len(spans)} shards from {spans[0].shard}"
    words = f"{name}: {rows} rows, {duration(sum(span.seconds for span in spans))}"
    retry = any(span.retry for span in spans)
    words += f", {failed} failed" if failed else ""
    words += ", run again" if retry else ""
    foot = max(15.0, 100 * failed / rows) if failed else 0.0
    return Bar(100 * left, 0, max(0.15, 100 * (right - left)), 100, words, retry, foot)


def _ticks(axis: TimeAxis) -> Ticks:
    start = axis.pieces[0][0]
    labels: list[tuple[float, str]] = []
    for begin, end, left, right in axis.pieces:
        step = _round_time((end - begin) / max(1.0, 7 * (right - left)))
        at = start + step * -(-(begin - start) // step)
        while at <= end:
            place = axis(at)
            if not labels or 100 * place - labels[-1][0] >= 14:
                labels.append((100 * place, _offset(at - start)))
            at += step
    breaks = [(100 * place, f"pause of {duration(seconds)}") for place, seconds in axis.breaks]
    return Ticks(labels, breaks, datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))


def _offset(seconds: float) -> str:
    """Return a time since the start, short enough for a tick."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds else "0"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"


def _round_time(seconds: float) -> float:
    """Return a step for a time axis, in whole units that people use."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200)
    return next((float(step) for step in steps if step >= seconds), 86400.0 * max(1, round(seconds / 86400)))
