"""The recorded vectors below `tests/golden`, see its README."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from repaint_batch.priors.guidance import ClassifierGuidance
from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.sampler.arithmetic import exact_arithmetic
from repaint_batch.sampler.path import Jump, Move, Undo, jump_times, moves
from repaint_batch.sampler.repaint import repaint_steps
from repaint_batch.sampler.schedule import NoiseSchedule
from repaint_batch.sampler.step import Drift, State, drift
from repaint_batch.sampler.table import Table

GOLDEN = Path(__file__).parent / "golden"
HIDDEN_SETTINGS = ("image_size", "num_heads", "num_head_channels", "use_new_attention_order")
"""What a checkpoint's card must say of the small networks."""


def read_json(name: str) -> Any:
    """Return the value in a JSON file."""
    return json.loads((GOLDEN / name).read_text())


def recorded_network(name: str) -> Any:
    """Return one of ``unet_a``, ``unet_b``, ``classifier_c`` with its recorded weights."""
    settings = read_json("configs.json")[name]
    settings["sample_size"] = settings.pop("image_size")
    settings.pop("pool", None)
    made = GuidedClassifier(**settings) if name == "classifier_c" else GuidedUNet(**settings)
    made.load_state_dict(load_file(GOLDEN / f"{name}.safetensors"))
    return made.eval().requires_grad_(False)


def hidden_card(name: str) -> dict[str, Any]:
    """Return a card that says no more of a recorded network than its weights leave open."""
    return {key: value for key, value in read_json("configs.json")[name].items() if key in HIDDEN_SETTINGS}


def copy_checkpoint(name: str, folder: Path, card: dict[str, Any] | None = None) -> Path:
    """Copy a recorded checkpoint into `folder`, with a card beside it; return its path."""
    path = folder / f"{name}.safetensors"
    path.write_bytes((GOLDEN / path.name).read_bytes())
    path.with_suffix(".json").write_text(json.dumps(hidden_card(name) if card is None else card))
    return path


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

    def of(self, step: int, found: Drift, u: float, keep_mask: Tensor) -> Tensor:
        """Return z for which mean + std z is what the recorded draws give: one draw stands for a reverse step and those up.

        A jump after the step leaves a share `u` of the signal.
        """
        total = found.std.expand_as(found.mean)
        reverse = (total**2 - (1 - u**2)).clamp(min=0).sqrt()
        hole = (reverse * self.reverse[step] + self.up[step]) / total.clamp(min=1e-20)
        return torch.where(keep_mask, self.known[step], hole)


def replayed(name: str, device: torch.device | str = "cpu") -> dict[str, float]:
    """Return how far a trajectory strays from the recorded one at its worst, with the recording's draws, by what is recorded."""
    settings = read_json("trajectories.json")[name]
    recorded = load_file(GOLDEN / f"trajectory_{name}.safetensors")
    unet = recorded_network("unet_b" if settings["class_cond"] else "unet_a").to(device)
    prior = LoadedPrior(unet, Process(NoiseSchedule.linear(), variance="learned_range"), None)
    guidance = None
    if settings["class_cond"]:
        prior = prior.labelled(recorded["classes"].tolist(), 2)
        classifier, classes = recorded_network("classifier_c").to(device), recorded["classes"].to(device)
        guidance = ClassifierGuidance(classifier, classes, settings["classifier_scale"])
    schedule = prior.schedule.respaced(settings["respacing"])
    assert schedule.timesteps.tolist() == recorded["timestep_map"].tolist()
    torch.testing.assert_close(schedule.betas, recorded["betas"], rtol=1e-9, atol=0)
    times = path_of(settings["schedule"])
    assert times == recorded["times"].tolist()
    path = list(moves(times, collapse_undo=False))
    recorded = {key: value.to(device) for key, value in recorded.items()}
    draws = RecordedDraws(recorded["noise"], path, schedule)
    assert draws.left == 0
    table = Table.of(schedule, repaint_steps(schedule, path), len(prior.schedule), starts_known=False)
    with torch.no_grad(), exact_arithmetic():
        return _strays(prior, guidance, table, draws, recorded)


def _strays(
    prior: LoadedPrior, guidance: ClassifierGuidance | None, table: Table, draws: RecordedDraws, recorded: dict[str, Tensor]
) -> dict[str, float]:
    keep_mask, known, x_t = recorded["keep"][:, :1] > 0.5, recorded["gt"], recorded["x_T"]
    assert table.variance is not None
    jumps, table = table.variance[0].tolist(), table.to(x_t.device)
    worst = {"x_after_reverse": 0.0, "pred_x0": 0.0}
    for step in range(len(table)):
        position = torch.full((len(x_t),), step, device=x_t.device)
        found = drift(prior, guidance, table, State(x_t, known, keep_mask, torch.zeros_like(x_t), position))
        x_t = found.mean + found.std * draws.of(step, found, jumps[step], keep_mask)
        # What is recorded is the state before the steps up and before known pixels are put in.
        after = torch.where(keep_mask, 0, jumps[step] * recorded["x_after_reverse"][step] + draws.up[step])
        ours = torch.where(keep_mask, 0, x_t)
        worst["x_after_reverse"] = max(worst["x_after_reverse"], float((ours - after).abs().max()))
        worst["pred_x0"] = max(worst["pred_x0"], float((found.pred_x0 - recorded["pred_x0"][step]).abs().max()))
    final = torch.where(keep_mask, 0, recorded["final"])
    worst["final"] = float((torch.where(keep_mask, 0, x_t) - final).abs().max())
    # What is handed out has the known pixels as they were given.
    torch.testing.assert_close(torch.where(keep_mask, x_t, 0), torch.where(keep_mask, known, 0), rtol=0, atol=1e-6)
    return worst
