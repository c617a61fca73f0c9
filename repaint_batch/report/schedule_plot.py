"""The path of a sampler through noise levels, drawn: t at every network evaluation.

It is read from the sampler's own table, so a new one needs no code here.
"""

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from repaint_batch.errors import ConfigError
from repaint_batch.sampler.sampler import Sampler
from repaint_batch.sampler.schedule import NoiseSchedule

FORMATS = (".png", ".svg")
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_INK, _MUTED, _ACCENT = "#1c1f24", "#5d636c", "#0b6b5b"


def visited_times(sampler: Sampler, training_steps: int = 1000) -> list[int]:
    """Return t of every network evaluation of `sampler`, in order, on a linear process of `training_steps`."""
    times: list[int] = sampler.table(NoiseSchedule.linear(training_steps)).t.tolist()
    return times


def jumps_up(times: Sequence[int]) -> int:
    """Return how often a path goes back up."""
    return sum(there > here for here, there in pairwise(times))


def draw_path(times: Sequence[int], title: str, path: str | Path) -> None:
    """Write the picture of a path to `path`: a .png or an .svg.

    Raises:
        ConfigError: the name ends in something else, or matplotlib is not there to draw it.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot: {path} ends in neither {' nor '.join(FORMATS)}; choose one of them")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("--plot: matplotlib is not installed; pip install 'repaint-batch[plots]' brings it") from error
    suffix = path.suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    _drawn(Figure, times, title).savefig(buffer, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
    path.write_bytes(buffer.getvalue())


def _drawn(make: Any, times: Sequence[int], title: str) -> Any:
    """Return a matplotlib figure, made by its class."""
    figure = make(figsize=(9, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(times) + 1), times, color=_ACCENT, linewidth=1.4 if len(times) < 600 else 0.7)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_xlabel("network evaluation", color=_MUTED)
    axes.set_ylabel("t (0 = picture)", color=_MUTED)
    axes.set_xlim(0, len(times) + 1)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c3c8d0")
    axes.tick_params(colors=_MUTED, labelsize=9)
    axes.grid(axis="y", color="#ebe9e5")
    axes.set_axisbelow(True)
    return figure


def sketch(times: Sequence[int], columns: int = 76, lines: int = 10) -> str:
    """Return a path as text, drawn in Braille dots: `lines` lines of `columns` characters."""
    wide, high = 2 * columns, 4 * lines
    top = max([1, *times])
    cells = [[0] * columns for _ in range(lines)]
    for x in range(wide):
        low = x * len(times) // wide
        stretch = times[low : max(low + 1, (x + 1) * len(times) // wide)]
        rows = [round((high - 1) * (1 - t / top)) for t in stretch]
        for y in range(min(rows), max(rows) + 1):
            cells[y // 4][x // 2] |= _BRAILLE[y % 4][x % 2]
    return "\n".join("".join(chr(0x2800 + dots) for dots in line).rstrip("\u2800") for line in cells)
