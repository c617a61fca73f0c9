"""The authors' recorded numbers, replayed: schedules, network outputs and whole trajectories with every noise draw."""

from collections.abc import Callable
from itertools import zip_longest

import pytest
import torch
from safetensors.torch import load_file

from repaint_batch.priors.guided_diffusion import GuidedClassifier
from repaint_batch.sampler.path import Reverse, Undo, moves

from ..golden_vectors import GOLDEN, path_of, read_json, recorded_network, replayed

FORWARD_TOLERANCE = 1e-4
TRAJECTORY_TOLERANCE = 1e-3

Record = Callable[[str, object], None]


@pytest.mark.parametrize("number", range(len(read_json("schedules.json"))))
def test_schedule_equals_the_recorded_one(number: int, record_property: Record) -> None:
    recorded = read_json("schedules.json")[number]
    times = path_of(recorded["params"])
    difference = sum(ours != theirs for ours, theirs in zip_longest(times, recorded["times"]))
    settings = ",".join(str(value) for value in recorded["params"].values())
    record_property("golden", (f"schedule {settings}", 0.0, float(difference)))
    assert times == recorded["times"]
    taken = list(moves(times, collapse_undo=False))
    assert sum(isinstance(step, Reverse) for step in taken) == recorded["reverse_steps"]
    assert sum(isinstance(step, Undo) for step in taken) == recorded["undo_steps"]


@pytest.mark.parametrize("name", ["unet_a", "unet_b", "classifier_c"])
def test_forward_equals_the_recorded_output(name: str, record_property: Record) -> None:
    recorded = load_file(GOLDEN / "forward.safetensors")
    made = recorded_network(name)
    with torch.inference_mode():
        if isinstance(made, GuidedClassifier):
            output = made(recorded["x"], recorded["t"])
        else:
            labels = recorded["y"] if made.config.num_classes else None
            output = made(recorded["x"], recorded["t"], labels).sample
    difference = float((output - recorded[name]).abs().max())
    record_property("golden", (f"forward {name}", FORWARD_TOLERANCE, difference))
    assert difference < FORWARD_TOLERANCE


@pytest.mark.parametrize("name", ["uncond", "start_resampling", "guided"])
def test_trajectory_equals_the_recorded_one(name: str, record_property: Record) -> None:
    worst = replayed(name)
    for key, difference in worst.items():
        record_property("golden", (f"trajectory {name}: {key}", TRAJECTORY_TOLERANCE, difference))
    assert max(worst.values()) < TRAJECTORY_TOLERANCE


def test_recorded_masks_are_equal_in_every_channel() -> None:
    for name in read_json("trajectories.json"):
        keep = load_file(GOLDEN / f"trajectory_{name}.safetensors")["keep"]
        assert torch.equal(keep, keep[:, :1].expand_as(keep)), name
