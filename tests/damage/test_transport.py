"""Scratches through whole frames: found far below the grain, not where something else runs down a part of the frame."""

import numpy as np
import pytest

from repaint_batch.damage.transport import FILM_Z, added, drawn, lines_of, profile_of


def frame(seed: int, height: int = 2400, width: int = 200, grain: float = 10.0) -> np.ndarray:
    """Return (H, W) float32 smooth shades under grain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    shades = 120 + 40 * np.sin(columns / 60 + seed) + 30 * np.cos(rows / 200)
    return (shades + rng.normal(0, grain, (height, width))).astype(np.float32)


def scratched(grey: np.ndarray, column: int, width: int, contrast: float, lean: float = 0) -> np.ndarray:
    """Return a frame with a line of a contrast in levels."""
    out, rows = grey.copy(), np.arange(len(grey))
    at = np.rint(column + lean * (rows / len(grey) - 0.5)).astype(int)
    for offset in range(width):
        out[rows, at + offset] += contrast
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("contrast", "width", "lean"), [(1.5, 3, 0), (-1.5, 3, 0), (2.0, 2, 5)])
def test_a_line_far_below_the_grain_is_found(contrast: float, width: int, lean: float) -> None:
    lines = lines_of(profile_of(scratched(frame(1), 150, width, contrast, lean)))
    assert [abs(line.column - 150 - (width - 1) / 2) <= 2 for line in lines] == [True]
    assert np.sign(lines[0].z) == np.sign(contrast)


def test_nothing_is_found_where_nothing_is() -> None:
    assert [line for seed in range(2) for line in lines_of(profile_of(frame(seed)))] == []


def test_what_stands_in_a_part_of_the_frame_is_none() -> None:
    mast = frame(2)
    mast[300:900, 100:104] -= 60
    assert lines_of(profile_of(mast)) == []


def test_frames_of_a_film_add_up() -> None:
    frames = [scratched(frame(seed, height=480), 150, 1, 1.0) for seed in range(24)]
    assert lines_of(profile_of(frames[0])) == []
    lines = lines_of(added([profile_of(one) for one in frames]), FILM_Z)
    assert [abs(line.column - 150) <= 2 for line in lines] == [True]


def test_a_line_is_drawn_along_its_lean() -> None:
    lines = lines_of(profile_of(scratched(frame(1), 150, 2, 4.0, 6)))
    hole = drawn(lines, 2400, 200)
    assert hole[0, 147]
    assert hole[-1, 153]
    assert 3 <= hole.sum(1).min() <= hole.sum(1).max() <= 7
