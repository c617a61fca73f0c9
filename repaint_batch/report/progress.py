"""Live progress of a job: rows, shards, images a second, time left.

On a terminal a bar that redraws itself; anywhere else (a log, a pipe, a CI job) a plain line now and then, because a
bar drawn into a file is noise.

The rate is that of the last shards, not of the whole run: the first shard pays for starting Ray and loading the prior,
and an estimate that remembers it for ever is wrong for ever.
"""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

RATE_SAMPLES = 16
"""Changes that the rate looks back on."""


class Progress:
    """How far a job is; a context manager.

    Args:
        total_rows: rows of the whole job.
        total_shards: shards of the whole job.
        done_rows: rows that were committed before this run; they count as done and not towards the rate.
        done_shards: shards that were.
        console: where to draw; by default standard output.
        interval_s: least time between two plain lines; it grows with the time that a job takes, to a minute.
        clock: seconds from any origin, for tests.
    """

    def __init__(
        self,
        total_rows: int,
        total_shards: int,
        *,
        done_rows: int = 0,
        done_shards: int = 0,
        console: Console | None = None,
        interval_s: float = 4.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_rows, self.total_shards = total_rows, total_shards
        self.rows_done, self.shards_done, self.failed = done_rows, done_shards, 0
        self._console = console or Console()
        self._interval_s, self._clock = interval_s, clock
        self._samples: deque[tuple[float, int]] = deque(maxlen=RATE_SAMPLES)
        self._started = self._last_line = clock()
        self._work = ""
        self._printed: tuple[int, int, int, str] | None = None
        self._bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        self._started = self._last_line = self._clock()
        self._samples.append((self._started, self.rows_done))
        if self._console.is_terminal:
            percentage = TextColumn("{task.percentage:>3.0f} %")
            columns = (SpinnerColumn(finished_text="✓"), BarColumn(bar_width=28), percentage, _Figures(self))
            self._bar = RichProgress(*columns, console=self._console, refresh_per_second=4)
            self._bar.add_task("rows", total=max(1, self.total_rows), completed=self._bar_at())
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._printed != self._state():
            self._print_line()

    def update(self, rows_done: int, shards_done: int, failed: int = 0, work: str = "") -> None:
        """Say where the job stands: totals since it was planned, not differences; and in words what is under way."""
        if rows_done != self.rows_done:
            self._samples.append((self._clock(), rows_done))
        self.rows_done, self.shards_done, self.failed, self._work = rows_done, shards_done, failed, work
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._bar_at())
        elif self._clock() - self._last_line >= self._quiet_s(self._printed != self._state()):
            self._print_line()

    def _quiet_s(self, is_news: bool) -> float:
        """Return the seconds for which nothing is printed: fewer at first, and fewer where there is something to say."""
        elapsed = self._clock() - self._started
        return max(self._interval_s, min(60.0, elapsed / (12 if is_news else 4)))

    @property
    def images_per_s(self) -> float | None:
        """Rows a second over the last shards; None before the first."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s and last > first else None

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end; None before the first shard."""
        rate = self.images_per_s
        if rate is None:
            return None
        since_s = self._clock() - self._samples[-1][0]
        return max(0.0, (self.total_rows - self.rows_done) / rate - since_s)

    def line(self) -> str:
        """Return the figures in one line of text."""
        parts = [
            f"{self.rows_done:,}/{self.total_rows:,} rows",
            f"{self.shards_done:,}/{self.total_shards:,} shards",
        ]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self._work and self.rows_done < self.total_rows:
            parts.append(self._work)
        rate, left = self.images_per_s, self.left_s
        if rate is not None:
            parts.append(_rate(rate))
        elapsed = duration(self._clock() - self._started)
        if self.rows_done >= self.total_rows:
            parts.append(f"done in {elapsed}")
        elif left is None:
            parts.append(f"{elapsed} so far, first shard under way")
        else:
            parts.append(f"{elapsed} so far, {duration(left)} left")
        return " · ".join(parts)

    def _bar_at(self) -> int:
        return self.rows_done if self.total_rows else 1

    def _state(self) -> tuple[int, int, int, str]:
        return self.rows_done, self.shards_done, self.failed, self._work

    def _print_line(self) -> None:
        self._last_line, self._printed = self._clock(), self._state()
        self._console.print(self.line(), highlight=False, soft_wrap=True, markup=False)


class _Figures(ProgressColumn):
    """The figures beside the bar, taken anew at every redraw so that the time left runs down between shards."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.line())


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:.2f} images/s" if images_per_s >= 0.1 else f"{images_per_s * 3600:.0f} images/h"


def duration(seconds: float) -> str:
    """Return a time span for people: ``8 s``, ``2 min 05 s``, ``3 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
