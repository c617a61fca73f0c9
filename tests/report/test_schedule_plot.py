"""Paths as they are watched agree with what samplers say of themselves; drawings show them."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.errors import ConfigError
from repaint_batch.report.schedule_plot import draw_path, jumps_up, sketch, visited_times
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.sampler.repaint import RePaint


@pytest.mark.parametrize("preset", [name for name in PRESETS if PRESETS[name].nfe < 1000])
def test_a_preset_costs_what_it_says(preset: str) -> None:
    assert len(visited_times(PRESETS[preset])) == PRESETS[preset].nfe


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_a_path_goes_from_noise_to_picture_and_jumps_as_often_as_asked(steps: int, length: int, samples: int) -> None:
    times = visited_times(RePaint(steps, length, samples), training_steps=50)
    assert times[-1] == 0
    assert times[0] == max(times) == (49 if steps > 1 else 0)
    stretches = len(range(0, steps - length, length))
    # A jump of one level is seen as the same time twice and not as a rise.
    assert jumps_up(times) == (stretches * (samples - 1) if length > 1 else 0)


def test_the_sketch_falls_from_corner_to_corner() -> None:
    lines = sketch(list(range(999, -1, -1)), columns=20, lines=5).split("\n")
    assert len(lines) == 5
    assert lines[0][0] != "\u2800"
    assert len(lines[-1]) == 20
    assert [len(line) for line in lines] == sorted(len(line) for line in lines)
    assert all(0x2800 <= ord(character) <= 0x28FF for line in lines for character in line)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=400))
@settings(deadline=None)
def test_any_path_can_be_sketched(times: list[int]) -> None:
    drawn = sketch(times, columns=10, lines=4)
    assert len(drawn.split("\n")) == 4
    assert any(character not in "\u2800\n" for character in drawn)


def test_a_png_shows_the_curve_and_an_svg_names_the_axes(tmp_path: Path) -> None:
    times = visited_times(RePaint(20, 5, 3))
    draw_path(times, "a <title> & more", tmp_path / "path.png")
    draw_path(times, "a <title> & more", tmp_path / "path.SVG")
    pixels = np.asarray(Image.open(io.BytesIO((tmp_path / "path.png").read_bytes())).convert("RGB")).astype(int)
    curve = (abs(pixels - (11, 107, 91)).sum(axis=-1) < 30).nonzero()
    assert np.ptp(curve[1]) > 0.8 * pixels.shape[1]
    assert np.ptp(curve[0]) > 0.5 * pixels.shape[0]
    assert ElementTree.parse(tmp_path / "path.SVG").getroot().tag.endswith("svg")


def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither \.png nor \.svg"):
        draw_path([1, 0], "t", tmp_path / "path.pdf")
    assert not list(tmp_path.iterdir())
