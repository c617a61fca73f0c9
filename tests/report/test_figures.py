"""Figures of a results table: sums agree with the rows they were made of."""

import math
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.report.charts import charts
from repaint_batch.report.figures import (
    Span,
    TimeAxis,
    figures,
    histogram,
    shard_spans,
    throughput,
)

from .fabricated import START, result_row, results


def span(start: float, end: float, *, rows: int = 8, windows: int = 8, worker: str = "w") -> Span:
    return Span("job", 0, worker, start, end, rows, 0, windows, 230 * windows, False)


spans = st.lists(
    st.builds(
        lambda start, length, rows, windows: span(start, start + length, rows=rows, windows=windows),
        st.floats(0, 1e5),
        st.floats(0.01, 1e3),
        st.integers(1, 64),
        st.integers(1, 100),
    ),
    min_size=1,
    max_size=20,
)


def test_counts_by_status_and_error_class() -> None:
    rows = [result_row(0), result_row(1, "failed"), result_row(2, "failed", error_class="MaskInvalid")]
    rows += [result_row(3, "failed", error_class="MaskInvalid"), result_row(4, "skipped", hole_fraction=0.0)]
    numbers = figures(results(rows))
    assert numbers.statuses == {"ok": 1, "skipped": 1, "failed": 3}
    assert numbers.errors == [("MaskInvalid", 2), ("ImageInvalid", 1)]
    assert numbers.dropped == []
    assert numbers.nfe == 230


def test_what_was_dropped_is_counted_by_name() -> None:
    rows = [result_row(0, dropped=["C2PA manifest", "gain map"]), result_row(1, dropped=["gain map"]), result_row(2, dropped=[])]
    assert figures(results(rows)).dropped == [("gain map", 2), ("C2PA manifest", 1)]


def test_an_empty_table_has_figures_and_drawings() -> None:
    numbers = figures(results([]))
    assert numbers.rows == numbers.nfe == 0
    assert charts(numbers).throughput is None


def test_a_table_of_failures_has_figures_and_drawings() -> None:
    numbers = figures(results([result_row(n, "failed") for n in range(5)]))
    assert numbers.spans == []
    assert numbers.seams.median is None
    assert numbers.seams.missing == 5
    assert charts(numbers).lanes == []


def test_a_shard_lasts_as_long_as_its_rows_took() -> None:
    rows = [result_row(n, finished_at=START + timedelta(seconds=n), attempt="a") for n in range(8)]
    (shard,) = shard_spans(results(rows))
    assert shard.seconds == pytest.approx(4.0)
    assert shard.end_s == pytest.approx(START.timestamp())
    assert (shard.rows, shard.windows, shard.worker) == (8, 8, "node/0")


def test_rows_of_a_later_job_are_retries() -> None:
    rows: list[dict[str, Any]] = [result_row(n) for n in range(8)]
    rows += [result_row(n, job_id="second", attempt="again") for n in range(8, 16)]
    assert [shard.retry for shard in shard_spans(results(rows), ["0123456789abcdef", "second"])] == [False, True]


@settings(deadline=None)
@given(spans)
def test_throughput_sums_to_all_rows(made: list[Span]) -> None:
    axis = TimeAxis.of(made)
    series = throughput(made, axis)
    seconds = _seconds(axis, series.edges)
    total = sum(rate * width for rate, width in zip(series.values, seconds, strict=True))
    assert total == pytest.approx(sum(made_span.rows for made_span in made), rel=1e-6)


@settings(deadline=None)
@given(spans)
def test_the_time_axis_is_rising_and_fills_its_width(made: list[Span]) -> None:
    axis = TimeAxis.of(made)
    times = sorted({edge for made_span in made for edge in (made_span.start_s, made_span.end_s)})
    places = [axis(time) for time in times]
    assert places == sorted(places)
    assert places[0] == pytest.approx(0)
    assert places[-1] == pytest.approx(1)


def test_a_long_pause_is_folded_and_named() -> None:
    axis = TimeAxis.of([span(0, 100), span(100, 200), span(10_000, 10_100)])
    ((place, seconds),) = axis.breaks
    assert seconds == 9800
    assert axis(200) < place < axis(10_000)
    assert axis(100) == pytest.approx(axis(200) / 2)


def test_a_histogram_counts_every_value_once() -> None:
    column = pa.chunked_array([[0.1, 0.2, None], [0.2, math.nan, 7.0, 50.0] + [0.3] * 400])
    counted = histogram(column, 10, 0.0)
    assert sum(counted.counts) + counted.beyond == 405
    assert counted.missing == 2
    assert counted.beyond == 2
    assert counted.edges[-1] == pytest.approx(0.3)


def test_many_shards_are_drawn_as_few_bars() -> None:
    made = [span(n, n + 1, worker=f"w{n % 100}") for n in range(20_000)]
    drawn = charts(_with(made))
    assert len(drawn.lanes) == 48
    assert drawn.lanes_left_out == 52
    assert sum(len(lane.bars) for lane in drawn.lanes) <= 4000


def _with(made: list[Span]) -> Any:
    return replace(figures(results([])), spans=made)


def _seconds(axis: TimeAxis, edges: list[float]) -> list[float]:
    """Return the seconds that each step of a series stands for; a folded pause counts as one."""
    widths = []
    for left, right in pairwise(edges):
        piece = next((p for p in axis.pieces if p[2] <= (left + right) / 2 <= p[3]), None)
        widths.append(1.0 if piece is None else (right - left) / ((piece[3] - piece[2]) or 1) * (piece[1] - piece[0]))
    return widths
