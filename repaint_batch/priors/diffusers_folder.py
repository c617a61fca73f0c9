"""Networks that diffusers saved: in a pipeline's folder (``unet/``, ``scheduler/``), or next to their scheduler."""

import itertools
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from repaint_batch.errors import PriorError
from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet

_NETWORKS: dict[str, Any] = {
    "UNet2DModel": diffusers.UNet2DModel,
    "GuidedUNet": GuidedUNet,
    "GuidedClassifier": GuidedClassifier,
}
_LATENT = ("vae", "vqvae", "movq", "vqmodel", "image_encoder", "text_encoder", "tokenizer", "prior", "transformer")


def is_diffusers_folder(path: Path) -> bool:
    """Return whether `path` holds a network or pipeline in diffusers' layout."""
    return any((path / name).is_file() for name in ("model_index.json", "config.json", "unet/config.json"))


def read_diffusers_folder(
    path: Path, *, allow_pickle: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, Any, list[Path]]:
    """Return the network of a folder with weights of `dtype`, its scheduler, and the files its weights came from.

    A classifier has no scheduler.

    Raises:
        PriorError: the model is of a kind that is not sampled here, or its files are missing, broken or do not agree.
    """
    index = _json(path / "model_index.json") if (path / "model_index.json").is_file() else {}
    parts = [name for name in _LATENT if index.get(name, [None])[0] is not None]
    if parts:
        raise PriorError(f"{path}: a pipeline with {parts[0]}, which works on latents or text; only pixel models can be used")
    folder = path / "unet" if (path / "unet").is_dir() else path
    scheduler_folder = path / "scheduler" if (path / "scheduler").is_dir() else path
    network = _network(folder, allow_pickle, dtype)
    scheduler = None if isinstance(network, GuidedClassifier) else _scheduler(scheduler_folder)
    return network, scheduler, _weights(folder, allow_pickle)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PriorError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise PriorError(f"{path}: expected a JSON object")
    return value


def _network(folder: Path, allow_pickle: bool, dtype: torch.dtype) -> nn.Module:
    config = _json(folder / "config.json")
    name = config.get("_class_name", "UNet2DModel")
    if name not in _NETWORKS:
        raise PriorError(f"{folder}: a {name} cannot be used; expected one of {', '.join(_NETWORKS)}")
    if config.get("time_embedding_type") == "fourier":
        raise PriorError(f"{folder}: a network of noise levels (fourier time embedding) has no discrete times")
    _weights(folder, allow_pickle)
    try:
        network, found = _NETWORKS[name].from_pretrained(
            folder,
            use_safetensors=None if allow_pickle else True,
            torch_dtype=dtype,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise PriorError(f"{folder}: the weights do not fit the config: {str(error)[:500]}") from error
    for kind in ("missing", "unexpected"):
        keys = sorted(found[f"{kind}_keys"])
        if keys:
            raise PriorError(f"{folder}: {len(keys)} {kind} keys in the weights: {', '.join(keys[:3])}")
    # safetensors are mapped into memory as they lie in the file, and kernels round differently on unaligned weights.
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        tensor.data = tensor.data.clone()
    return network  # type: ignore[no-any-return]


def _weights(folder: Path, allow_pickle: bool) -> list[Path]:
    files = sorted(folder.glob("diffusion_pytorch_model*.safetensors"))
    pickled = sorted(folder.glob("diffusion_pytorch_model*.bin"))
    if files or (allow_pickle and pickled):
        return files or pickled
    hint = "; it has a .bin: set prior.allow_pickle to read it" if pickled else ""
    raise PriorError(f"{folder}: no diffusion_pytorch_model.safetensors{hint}")


def _scheduler(folder: Path) -> Any:
    path = folder / "scheduler_config.json"
    if not path.is_file():
        raise PriorError(f"{folder}: no scheduler_config.json, so its betas are unknown; save its scheduler there")
    config = _json(path)
    name = str(config.get("_class_name", "DDPMScheduler"))
    cls = getattr(diffusers, name, None)
    if cls is None or not name.endswith("Scheduler"):
        raise PriorError(f"{path}: {name} is not a scheduler of diffusers")
    try:
        return cls.from_config(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise PriorError(f"{path}: {error}") from error
