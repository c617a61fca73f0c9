"""A restoration watched: the right states are kept, and strips and animations show them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from repaint_batch.errors import ConfigError
from repaint_batch.report.trace import GAP_PX, Recorder, filmstrip, write_gif, write_trace
from repaint_batch.sampler.prior import Prediction
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.run import ChainState, sample
from repaint_batch.sampler.schedule import NoiseSchedule


class Blank:
    """The prior of pictures that are 0 everywhere: all of x_t is noise."""

    schedule = NoiseSchedule.linear(50)
    fixed_large_variance = False

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        return Prediction(eps=x_t / (1 - self.schedule.alpha_bar[t]).sqrt().float()[:, None, None, None])


def test_a_recorded_chain_ends_in_the_result_and_loses_its_noise() -> None:
    sampler = RePaint(20, 5, 2)
    recorder = Recorder(sampler.nfe, frames=6)
    keep = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    restored = sample(sampler, Blank(), torch.zeros(2, 3, 8, 8), keep, [1, 2], on_step=recorder)
    assert len(recorder.kept) == 6
    assert recorder.kept[-1][0] == sampler.nfe
    np.testing.assert_array_equal(recorder.arrays[-1], restored.numpy())
    assert recorder.arrays[0].std() > 5 * recorder.arrays[-1].std()


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 40))
def test_frames_are_even_and_as_many_as_asked(positions: int, frames: int) -> None:
    recorder = Recorder(positions, frames)
    for position in range(1, positions + 1):
        recorder(ChainState(position, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)))
    kept = [position for position, _ in recorder.kept]
    assert len(kept) == min(positions, frames)
    assert kept[-1] == positions
    gaps = np.diff(kept)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def frames_of(values: list[float], batch: int = 1, channels: int = 3) -> list[np.ndarray]:
    return [np.full((batch, channels, 8, 8), value, np.float32) for value in values]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_filmstrip_shows_frames_from_left_to_right_and_pictures_below_each_other(channels: int) -> None:
    frames = frames_of([-1, 0, 5], batch=2, channels=channels)
    frames[1][1] = 1
    strip = np.asarray(filmstrip(frames, picture_px=16))
    assert strip.shape == (2 * 16 + GAP_PX, 3 * 16 + 2 * GAP_PX, 3)
    assert [int(strip[8, x, 0]) for x in (8, 28, 48)] == [0, 128, 255]
    assert [int(strip[28, x, 0]) for x in (8, 28, 48)] == [0, 255, 255]


def test_labels_stand_above() -> None:
    plain, labelled = filmstrip(frames_of([0, 0])), filmstrip(frames_of([0, 0]), labels=("t 999", "t 0"))
    assert labelled.height == plain.height + 20
    assert np.asarray(labelled)[:20].min() < 150


def test_a_gif_plays_every_frame_and_holds_the_last(tmp_path: Path) -> None:
    write_gif(frames_of([-1, 0, 1]), tmp_path / "trace.gif", picture_px=32, frame_ms=50)
    with Image.open(tmp_path / "trace.gif") as gif:
        assert gif.n_frames == 3
        assert gif.info["loop"] == 0
        seen = []
        for number in range(3):
            gif.seek(number)
            seen.append((np.asarray(gif.convert("L"))[16, 16], gif.info["duration"]))
    assert [value for value, _ in seen] == pytest.approx([0, 128, 255], abs=2)
    assert seen[-1][1] > 10 * seen[0][1]


def test_the_name_decides_the_kind(tmp_path: Path) -> None:
    for name, kind in (("a.gif", "GIF"), ("a.PNG", "PNG")):
        write_trace(frames_of([0, 1]), tmp_path / name)
        with Image.open(tmp_path / name) as written:
            assert written.format == kind
    with pytest.raises(ConfigError, match=r"neither \.gif"):
        write_trace(frames_of([0]), tmp_path / "a.mp4")


@pytest.mark.parametrize("frames", [[], [np.zeros((3, 8, 8))], [np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 9, 8))]])
def test_what_is_no_trace_is_refused(frames: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="frame"):
        filmstrip(frames)
