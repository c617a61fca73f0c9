"""A prior from its config: located, read, checked, put on a device."""

import hashlib
from pathlib import Path
from typing import Literal

import torch

from repaint_batch.config import PriorConfig
from repaint_batch.errors import PriorError
from repaint_batch.priors.diffusers_folder import is_diffusers_folder, read_diffusers_folder
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.priors.source import locate
from repaint_batch.storage import Storage

__all__ = ["LoadedPrior", "Precision", "load_prior"]

Precision = Literal["float32", "bfloat16", "float16"]


def load_prior(
    config: PriorConfig,
    storage: Storage,
    *,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
) -> LoadedPrior:
    """Return the prior that `config` names, in inference mode on `device`.

    Args:
        config: where it is and what it is asked for.
        storage: how ``s3://`` prefixes are read.
        device: where it computes.
        precision: of its weights and arithmetic; what goes in and comes out is float32 in any case.

    Raises:
        PriorError: it is not there, cannot be read, or cannot be honoured; the message says why.
    """
    path = locate(config.source, config.revision, storage, allow_pickle=config.allow_pickle)
    if not is_diffusers_folder(path):
        raise PriorError(f"prior.source: {config.source}: no config.json or model_index.json of diffusers")
    dtype = getattr(torch, precision)
    network, scheduler, files = read_diffusers_folder(path, allow_pickle=config.allow_pickle, dtype=dtype)
    return LoadedPrior(
        network.to(device).eval().requires_grad_(False),
        Process.from_scheduler(scheduler.config, config.source),
        scheduler,
        default_label=config.class_label,
        weights_sha256=tuple(map(_sha256, files)),
        card=_card(path),
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(path: Path) -> str | None:
    readme = (path if path.is_dir() else path.parent) / "README.md"
    return readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else None
