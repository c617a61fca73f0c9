"""The authors' recorded numbers, replayed: schedules, network outputs and whole trajectories with every noise draw."""

from collections.abc import Callable
from itertools import zip_longest

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from repaint_batch.priors.guidance import ClassifierGuidance
from repaint_batch.priors.guided_diffusion import GuidedClassifier
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.noise import Role
from repaint_batch.sampler.path import Jump, Reverse, Step, Undo, jump_times, steps
from repaint_batch.sampler.repaint import ChainState, repaint
from repaint_batch.sampler.schedule import NoiseSchedule

from ..golden_vectors import GOLDEN, read_json, recorded_network

FORWARD_TOLERANCE = 1e-4
TRAJECTORY_TOLERANCE = 1e-3

Record = Callable[[str, object], None]


def path_of(schedule: dict[str, int]) -> list[int]:
    """Return our path for recorded parameters; jump2 and jump3 are nested inside."""
    names = [name for name in ("jump", "jump2", "jump3") if f"{name}_length" in schedule]
    jumps = [Jump(schedule[f"{name}_length"], schedule[f"{name}_n_sample"]) for name in names]
    return jump_times(schedule["t_T"], jumps, schedule.get("n_sample", 1), schedule.get("start_resampling"))


class ReplayedNoise:
    """Recorded draws, handed out by what they were drawn for.

    In the recording each reverse step draws its own noise first, even where it is not used, and then the known part's,
    except in the very first; each undo step draws one.
    """

    def __init__(self, initial: Tensor, draws: Tensor, path: list[Step]) -> None:
        recorded = iter(draws)
        self._draws = {(-1, Role.INITIAL): initial}
        for position, step in enumerate(path):
            if isinstance(step, Undo):
                self._draws[position, Role.UNDO] = next(recorded)
                continue
            self._draws[position, Role.REVERSE] = next(recorded)
            if position:
                self._draws[position, Role.KNOWN] = next(recorded)
        self.left = len(list(recorded))

    def __call__(self, position: int, role: Role) -> Tensor:
        return self._draws[position, role]


@pytest.mark.parametrize("number", range(len(read_json("schedules.json"))))
def test_schedule_equals_the_recorded_one(number: int, record_property: Record) -> None:
    recorded = read_json("schedules.json")[number]
    times = path_of(recorded["params"])
    difference = sum(ours != theirs for ours, theirs in zip_longest(times, recorded["times"]))
    settings = ",".join(str(value) for value in recorded["params"].values())
    record_property("golden", (f"schedule {settings}", 0.0, float(difference)))
    assert times == recorded["times"]
    taken = list(steps(times, collapse_undo=False))
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
    settings = read_json("trajectories.json")[name]
    recorded = load_file(GOLDEN / f"trajectory_{name}.safetensors")
    unet = recorded_network("unet_b" if settings["class_cond"] else "unet_a")
    prior = LoadedPrior(unet, Process(NoiseSchedule.linear(), variance="learned_range"), None)
    guidance = None
    if settings["class_cond"]:
        prior = prior.labelled(recorded["classes"].tolist(), 2)
        guidance = ClassifierGuidance(recorded_network("classifier_c"), recorded["classes"], settings["classifier_scale"])

    schedule = prior.schedule.respaced(settings["respacing"])
    assert schedule.timesteps.tolist() == recorded["timestep_map"].tolist()
    torch.testing.assert_close(schedule.betas, recorded["betas"], rtol=1e-9, atol=0)
    times = path_of(settings["schedule"])
    assert times == recorded["times"].tolist()

    path = list(steps(times, collapse_undo=False))
    noise = ReplayedNoise(recorded["x_T"], recorded["noise"], path)
    assert noise.left == 0
    states: list[ChainState] = []
    keep_mask = recorded["keep"][:, :1] > 0.5
    with torch.no_grad():
        restored = repaint(
            prior,
            recorded["gt"],
            keep_mask,
            noise,
            schedule=schedule,
            path=path,
            guidance=guidance,
            on_step=states.append,
        )

    after = [state for state, step in zip(states, path, strict=True) if isinstance(step, Reverse)]
    ours = {
        "x_after_reverse": torch.stack([state.x_t for state in after]),
        "pred_x0": torch.stack([state.pred_x0 for state in after if state.pred_x0 is not None]),
        "final": states[-1].x_t,
    }
    differences = {key: float((value - recorded[key]).abs().max()) for key, value in ours.items()}
    for key, difference in differences.items():
        record_property("golden", (f"trajectory {name}: {key}", TRAJECTORY_TOLERANCE, difference))
    assert max(differences.values()) < TRAJECTORY_TOLERANCE
    # What is handed out is the last state with the known pixels as they were given.
    torch.testing.assert_close(restored, torch.where(keep_mask, recorded["gt"], recorded["final"]), rtol=0, atol=1e-3)


def test_recorded_masks_are_equal_in_every_channel() -> None:
    for name in read_json("trajectories.json"):
        keep = load_file(GOLDEN / f"trajectory_{name}.safetensors")["keep"]
        assert torch.equal(keep, keep[:, :1].expand_as(keep)), name
