"""Progress: right figures, a bar on a terminal, plain lines elsewhere."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from repaint_batch.report.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=width)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_rate_and_time_left_follow_the_clock() -> None:
    clock = Clock()
    with Progress(100, 10, console=plain(), clock=clock) as progress:
        assert progress.images_per_s is None
        assert progress.left_s is None
        clock.now += 20
        progress.update(40, 4)
        assert progress.images_per_s == pytest.approx(2.0)
        assert progress.left_s == pytest.approx(30.0)
        clock.now += 10
        assert progress.left_s == pytest.approx(20.0)


def test_rows_done_before_do_not_count_towards_the_rate() -> None:
    clock = Clock()
    with Progress(100, 10, done_rows=90, done_shards=9, console=plain(), clock=clock) as progress:
        clock.now += 10
        progress.update(95, 9)
        assert progress.images_per_s == pytest.approx(0.5)


def test_rate_forgets_a_slow_start() -> None:
    clock = Clock()
    with Progress(1000, 100, console=plain(), clock=clock) as progress:
        clock.now += 600
        for rows in range(10, 500, 10):
            progress.update(rows, rows // 10)
            clock.now += 5
        assert progress.images_per_s == pytest.approx(2.0)


def test_plain_output_is_few_whole_lines_without_control_codes() -> None:
    clock, console = Clock(), plain(width=20)
    with Progress(1000, 100, console=console, clock=clock, interval_s=10) as progress:
        for rows in range(10, 1001, 10):
            clock.now += 1
            progress.update(rows, rows // 10, failed=3)
    lines = text(console).splitlines()
    assert 9 <= len(lines) <= 11
    assert "\x1b" not in text(console)
    assert all(re.match(r"[\d,]+/1,000 rows · \d+/100 shards · 3 failed · 10.00 images/s · ", line) for line in lines)
    assert lines[-1].endswith("done in 1 min 40 s")


def test_plain_output_goes_on_while_nothing_changes_ever_more_rarely() -> None:
    clock, console = Clock(), plain()
    with Progress(10, 1, console=console, clock=clock) as progress:
        for _ in range(300):
            clock.now += 1
            progress.update(5, 0)
    lines = text(console).splitlines()
    assert 10 < len(lines) < 25
    assert len(set(lines)) == len(lines), "and says how long it has taken or will take"


def test_what_is_under_way_is_told_until_all_is_done() -> None:
    console = plain()
    with Progress(10, 1, console=console) as progress:
        progress.update(5, 0, 0, "1,200 evaluations, 3 windows waiting")
        assert "0/1 shards · 1,200 evaluations, 3 windows waiting · " in progress.line()
        progress.update(10, 1, 0, "2,400 evaluations, 0 windows waiting")
        assert "evaluations" not in progress.line()


def test_a_run_that_raises_still_says_where_it_stood() -> None:
    console = plain()
    progress = Progress(10, 2, console=console).__enter__()
    progress.update(5, 1)
    progress.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "5/10 rows · 1/2 shards" in text(console)


def test_terminal_gets_a_bar_with_the_same_figures() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(10, 2, console=console) as progress:
        progress.update(10, 2, failed=1)
    drawn = text(console)
    assert "\x1b[" in drawn
    assert "100 %" in drawn
    assert "10/10 rows · 2/2 shards · 1 failed" in drawn


@pytest.mark.parametrize("console", [plain(), Console(file=io.StringIO(), force_terminal=True)])
def test_a_job_without_rows_is_done(console: Console) -> None:
    with Progress(0, 0, console=console):
        pass
    assert "0/0 rows · 0/0 shards · done in 0 s" in text(console)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1e4)), max_size=40))
def test_time_left_is_never_negative(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    rows = 0
    with Progress(1000, 10, console=plain(), clock=clock) as progress:
        for more, wait in steps:
            rows = min(1000, rows + more)
            clock.now += wait
            progress.update(rows, 0)
            assert progress.left_s is None or progress.left_s >= 0
            assert progress.line()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (11220, "3 h 07 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
