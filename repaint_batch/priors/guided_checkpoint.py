"""guided-diffusion checkpoints: one file of tensors, and a card beside it where the weights do not tell everything.

The card of ``model.pt`` or ``model.safetensors`` is ``model.json``, see `repaint_batch.priors.architecture.GuidedCard`.
"""

import json
import pickle
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from repaint_batch.config import parse_config
from repaint_batch.errors import PriorError
from repaint_batch.priors.architecture import GuidedCard, GuidedNetwork, build_network, is_guided_diffusion

SAFE_SUFFIXES = (".safetensors",)
PICKLED_SUFFIXES = (".pt", ".pth", ".bin")


def checkpoint_file(path: Path) -> Path:
    """Return the checkpoint at `path`, which may be the folder of just one; safetensors come before pickles.

    Raises:
        PriorError: there is none, or more than one.
    """
    if path.is_file():
        return path
    for suffixes in (SAFE_SUFFIXES, PICKLED_SUFFIXES):
        found = sorted(file for file in path.iterdir() if file.suffix in suffixes)
        if len(found) > 1:
            raise PriorError(f"{path}: {len(found)} checkpoints, such as {found[0].name}; name the one to read")
        if found:
            return found[0]
    raise PriorError(f"{path}: neither a diffusers folder nor one with a .safetensors or .pt checkpoint")


def read_state_dict(path: Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, by name.

    Raises:
        PriorError: it is a pickle and these are not allowed, holds more than tensors, or cannot be read.
    """
    if path.suffix in SAFE_SUFFIXES:
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise PriorError(f"{path}: is no readable safetensors file: {error}") from error
    if path.suffix not in PICKLED_SUFFIXES:
        raise PriorError(f"{path}: a checkpoint ends in .safetensors, or in {', '.join(PICKLED_SUFFIXES)}")
    if not allow_pickle:
        raise PriorError(f"{path}: a pickle; convert it to safetensors, or set prior.allow_pickle to read its tensors")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PriorError(f"{path}: holds code or objects besides tensors and is refused: {str(error)[:300]}") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise PriorError(f"{path}: is no readable checkpoint: {str(error)[:300]}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        kinds = ", ".join(list(map(str, state))[:4]) if isinstance(state, dict) else type(state).__name__
        raise PriorError(f"{path}: expected a dictionary of tensors and found {kinds}; save the network's alone")
    return state


def read_card(path: Path) -> GuidedCard:
    """Return the card beside the checkpoint at `path`; one that says nothing where there is none."""
    card = path.with_suffix(".json")
    if not card.is_file():
        return GuidedCard()
    try:
        values = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PriorError(f"{card}: cannot be read as JSON: {error}") from error
    return parse_config(values, GuidedCard, str(card))


def read_guided_checkpoint(
    path: Path, *, allow_pickle: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[GuidedNetwork, DDPMScheduler]:
    """Return the network of a checkpoint with weights of `dtype`, and a scheduler that says what it was trained with.

    Raises:
        PriorError: see `read_state_dict` and `repaint_batch.priors.architecture.build_network`.
    """
    state = read_state_dict(path, allow_pickle=allow_pickle)
    if not is_guided_diffusion(state):
        raise PriorError(f"{path}: {', '.join(list(state)[:3])} ... are not the names of guided-diffusion")
    card = read_card(path)
    network = build_network({name: tensor.shape for name, tensor in state.items()}, card, str(path))
    # Copied, because weights mapped from a file may be unaligned, on which kernels round differently.
    network.load_state_dict({name: tensor.to(dtype, copy=True) for name, tensor in state.items()}, assign=True)
    return network.eval(), scheduler_of(card, learned=network.config.out_channels == 2 * network.config.in_channels)


def scheduler_of(card: GuidedCard, *, learned: bool) -> DDPMScheduler:
    """Return the diffusers scheduler that says what a card says."""
    # The linear betas were meant for 1000 steps and are stretched for any other number.
    scale = 1000 / card.diffusion_steps
    return DDPMScheduler(
        num_train_timesteps=card.diffusion_steps,
        beta_start=1e-4 * scale,
        beta_end=0.02 * scale,
        beta_schedule="linear" if card.noise_schedule == "linear" else "squaredcos_cap_v2",
        variance_type="learned_range" if learned else "fixed_small" if card.sigma_small else "fixed_large",
        prediction_type="sample" if card.predict_xstart else "epsilon",
    )
