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
from repaint_batch.sampler.path import Jump, Move, Reverse, Undo, jump_times, moves
from repaint_batch.sampler.repaint import repaint_steps
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.step import Drift, State, drift
from repaint_batch.sampler.table import Table

from ..golden_vectors import GOLDEN, read_json, recorded_network

FORWARD_TOLERANCE = 1e-4
TRAJECTORY_TOLERANCE = 1e-3

Record = Callable[[str, object], None]


def path_of(schedule: dict[str, int]) -> list[int]:
    """Return our path for recorded parameters; jump2 and jump3 are nested inside."""
    names = [name for name in ("jump", "jump2", "jump3") if f"{name}_length" in schedule]
    jumps = [Jump(schedule[f"{name}_length"], schedule[f"{name}_n_sample"]) for name in names]
    return jump_times(schedule["t_T"], jumps, schedule.get("n_sample", 1), schedule.get("start_resampling"))


class RecordedDraws:
    """Recorded draws of every network evaluation: of its reverse step, the steps up that follow, and the known part after them.

    In the recording each reverse step draws its own noise first, even where it is not used, and then the known part's,
    except in the very first; each undo step draws one.
    """

    def __init__(self, draws: Tensor, path: list[Move], process: NoiseSchedule) -> None:
        recorded = iter(draws)
        alpha_bar = process.alpha_bar
        self.reverse: list[Tensor] = []
        self.up: list[Tensor] = []  # what single steps up add to the state, together
        self.known: list[Tensor] = []
        for position, move in enumerate(path):
            if isinstance(move, Undo):
                ratio = float(alpha_bar[move.stop] / alpha_bar[move.start]) if move.start >= 0 else float(alpha_bar[move.stop])
                self.up[-1] = ratio**0.5 * self.up[-1] + (1 - ratio) ** 0.5 * next(recorded)
                continue
            self.reverse.append(next(recorded))
            if position:
                self.known.append(next(recorded))
            self.up.append(torch.zeros_like(draws[0]))
        self.known.append(torch.zeros_like(draws[0]))  # after the last step there is none
        self.left = len(list(recorded))

    def of(self, step: int, found: Drift, table: Table, keep_mask: Tensor) -> Tensor:
        """Return z for which mean + std z is what the recorded draws give: one draw stands for a reverse step and those up."""
        assert table.variance is not None
        u = float(table.variance[0, step])
        total = found.std.expand_as(found.mean)
        reverse = (total**2 - (1 - u**2)).clamp(min=0).sqrt()
        hole = (reverse * self.reverse[step] + self.up[step]) / total.clamp(min=1e-20)
        return torch.where(keep_mask, self.known[step], hole)


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

    path = list(moves(times, collapse_undo=False))
    draws = RecordedDraws(recorded["noise"], path, schedule)
    assert draws.left == 0
    table = Table.of(schedule, repaint_steps(schedule, path), len(prior.schedule), starts_known=False)
    keep_mask, known, x_t = recorded["keep"][:, :1] > 0.5, recorded["gt"], recorded["x_T"]
    worst = {"x_after_reverse": 0.0, "pred_x0": 0.0}
    with torch.no_grad():
        for step in range(len(table)):
            state = State(x_t, known, keep_mask, torch.zeros_like(x_t), torch.full((len(x_t),), step))
            found = drift(prior, guidance, table, state)
            x_t = found.mean + found.std * draws.of(step, found, table, keep_mask)
            # What is recorded is the state before the steps up and before known pixels are put in.
            u = float(table.variance[0, step])
            after = torch.where(keep_mask, 0, u * recorded["x_after_reverse"][step] + draws.up[step])
            ours = torch.where(keep_mask, 0, x_t)
            worst["x_after_reverse"] = max(worst["x_after_reverse"], float((ours - after).abs().max()))
            worst["pred_x0"] = max(worst["pred_x0"], float((found.pred_x0 - recorded["pred_x0"][step]).abs().max()))
    final = torch.where(keep_mask, 0, recorded["final"])
    worst["final"] = float((torch.where(keep_mask, 0, x_t) - final).abs().max())
    for key, difference in worst.items():
        record_property("golden", (f"trajectory {name}: {key}", TRAJECTORY_TOLERANCE, difference))
    assert max(worst.values()) < TRAJECTORY_TOLERANCE
    # What is handed out has the known pixels as they were given.
    torch.testing.assert_close(torch.where(keep_mask, x_t, 0), torch.where(keep_mask, known, 0), rtol=0, atol=1e-6)


def test_recorded_masks_are_equal_in_every_channel() -> None:
    for name in read_json("trajectories.json"):
        keep = load_file(GOLDEN / f"trajectory_{name}.safetensors")["keep"]
        assert torch.equal(keep, keep[:, :1].expand_as(keep)), name
