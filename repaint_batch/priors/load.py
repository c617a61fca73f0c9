"""A prior from its config: located, read, checked, put on a device."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from repaint_batch.config import PriorConfig
from repaint_batch.errors import PriorError
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.priors.process import Process
from repaint_batch.priors.source import locate
from repaint_batch.storage import Storage

__all__ = ["LoadedPrior", "Precision", "ReadNetwork", "load_prior", "read_network"]

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class ReadNetwork:
    """What a folder or checkpoint holds.

    Attributes:
        path: the folder or file.
        network: a `UNet2DModel`, `GuidedUNet` or `GuidedClassifier`.
        scheduler: the diffusers scheduler that says what it was trained with; None for a classifier.
        files: where the weights came from.
    """

    path: Path
    network: Any
    scheduler: Any
    files: tuple[Path, ...]

    @property
    def sha256(self) -> tuple[str, ...]:
        """Hash of each of the files, in hex."""
        return tuple(map(_sha256, self.files))

    @property
    def card(self) -> str | None:
        """Text of the model card, if there is one."""
        readme = (self.path if self.path.is_dir() else self.path.parent) / "README.md"
        return readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else None


def read_network(path: Path, *, allow_pickle: bool = False, dtype: torch.dtype = torch.float32) -> ReadNetwork:
    """Return the network at `path`, a folder in diffusers' layout or a guided-diffusion checkpoint, on the CPU.

    Raises:
        PriorError: it cannot be read or is of a kind that is not known here.
    """
    from repaint_batch.priors.diffusers_folder import is_diffusers_folder, read_diffusers_folder  # diffusers takes seconds
    from repaint_batch.priors.guided_checkpoint import checkpoint_file, read_guided_checkpoint

    if path.is_dir() and is_diffusers_folder(path):
        network, scheduler, files = read_diffusers_folder(path, allow_pickle=allow_pickle, dtype=dtype)
        return ReadNetwork(path, network, scheduler, tuple(files))
    file = checkpoint_file(path)
    network, scheduler = read_guided_checkpoint(file, allow_pickle=allow_pickle, dtype=dtype)
    return ReadNetwork(file, network, scheduler, (file,))


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
        precision: of the network's weights and arithmetic; what goes in and comes out is float32 in any case.

    Raises:
        PriorError: it is not there, cannot be read, or cannot be honoured; the message says why.
    """
    from repaint_batch.priors.guided_diffusion import GuidedClassifier

    dtype = getattr(torch, precision)
    found = _read(config.source, config.revision, config, storage, dtype)
    if isinstance(found.network, GuidedClassifier):
        raise PriorError(f"prior.source: {config.source} is a classifier; name it as prior.classifier")
    classifier, hashes = None, found.sha256
    if config.classifier is not None:
        # Always float32: its gradient underflows in half precision.
        guide = _read(config.classifier, None, config, storage, torch.float32)
        if not isinstance(guide.network, GuidedClassifier):
            raise PriorError(f"prior.classifier: {config.classifier} predicts noise; name it as prior.source")
        classifier, hashes = _frozen(guide.network, device), hashes + guide.sha256
    return LoadedPrior(
        _frozen(found.network, device),
        Process.from_scheduler(found.scheduler.config, config.source),
        found.scheduler,
        default_label=config.class_label,
        classifier=classifier,
        classifier_scale=config.classifier_scale,
        weights_sha256=hashes,
        card=found.card,
    )


def _read(source: str, revision: str | None, config: PriorConfig, storage: Storage, dtype: torch.dtype) -> ReadNetwork:
    path = locate(source, revision, storage, allow_pickle=config.allow_pickle)
    return read_network(path, allow_pickle=config.allow_pickle, dtype=dtype)


def _frozen(network: nn.Module, device: torch.device | str) -> nn.Module:
    # channels_last: what convolutions compute in, on CPUs and on GPUs. CUDA's own GroupNorm answers in the other layout, so there
    # an eager network pays two transposes a norm, a compiled one none. By rule and not by measuring as it is loaded: layouts
    # round differently, and a job's bytes are not to depend on what else ran that minute.
    return network.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload,no-any-return]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
