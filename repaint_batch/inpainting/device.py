"""What a device can do: compile, which precision pays, and how many windows of a network call it holds.

Nothing here may change a result behind the owner's back. Compilation, precision and batch size all change rounding, so all are
part of a job's identity: a missing compiler is found out before a job is planned, ``compute.precision: auto`` is decided then,
and a batch that does not fit the device is an error that names one that does. Only an owner who asked for
``compute.batch_windows: auto`` gets another one.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from repaint_batch.config import ComputeConfig, JobConfig
from repaint_batch.errors import BatchTooLarge, ConfigError, PriorError
from repaint_batch.priors.load import Precision
from repaint_batch.priors.loaded import LoadedPrior

_CPU_WINDOWS = 16
_MOST_WINDOWS = 256
_STATES = 16
"""Copies of a batch's windows that sampling keeps beside the network's own memory: states, noise and its words, drafts."""


_NO_MEMORY = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED")
_OF_A_SHARE = 0.9
"""Of a process's share of a GPU's memory, what torch may take; kernels and libraries take the rest."""


def missing_compiler() -> str | None:
    """Return why networks cannot be compiled on this machine, in one line; None where they can."""
    # What torch looks for: see torch.compiler's documentation of CXX.
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(name) else f"there is no C++ compiler ({name}, or what CXX names)"


def compiled(prior: LoadedPrior) -> LoadedPrior:
    """Return `prior` with its network compiled, in place; the first call of each batch's shape waits for the compiler.

    Compiled code is kept in torch's cache in the temporary folder (TORCHINDUCTOR_CACHE_DIR moves it), which the processes
    of a node share: the first one compiles, later ones read.

    Raises:
        ConfigError: this machine has no compiler.
    """
    reason = missing_compiler()
    if reason:
        raise ConfigError(f"compute.compile: {reason}; install one on every node, or leave compute.compile out")
    if not prior.compiled:
        prior.network.compile(dynamic=False)
    return replace(prior, compiled=True)


def device_of(prior: LoadedPrior) -> torch.device:
    """Return where a prior computes."""
    return next(prior.network.parameters()).device


def precision_of(compute: ComputeConfig) -> Precision:
    """Return the arithmetic of a job's network; for ``auto`` bfloat16 if its actors take GPUs that have it, else float32.

    To be asked where a job is planned: elsewhere there may be other devices. Where the config does not say whether actors
    take GPUs, this machine stands for all.
    """
    if compute.precision != "auto":
        return compute.precision
    here = torch.cuda.is_available()
    takes = here if compute.num_gpus is None else compute.num_gpus > 0
    slow = here and not torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if takes and not slow else "float32"


def cpu_has_bfloat16() -> bool:
    """Return whether this machine's processor multiplies in bfloat16: small networks then take half the time of float32."""
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def take_share(compute: ComputeConfig) -> None:
    """Keep this process to its share of a GPU's memory, where actors take a fraction of one: the others count on theirs."""
    if compute.num_gpus and compute.num_gpus < 1:
        torch.cuda.set_per_process_memory_fraction(_OF_A_SHARE * compute.num_gpus)


def batch_windows_of(config: JobConfig, prior: LoadedPrior) -> int:
    """Return the windows of a network call: the config's number, or for ``auto`` what suits this process's device.

    On a CPU larger batches are not faster, and memory that runs out is no error but the end of the process.
    """
    asked = config.compute.batch_windows
    if asked != "auto":
        return asked
    if device_of(prior).type == "cpu":
        return _CPU_WINDOWS
    return largest_batch(prior, _MOST_WINDOWS)


def largest_batch(prior: LoadedPrior, most: int) -> int:
    """Return the largest of 1, 2, 4, ... windows that fits the device, and no larger than holds `most`."""
    fits = 1
    while fits < most and _fits(prior, (2 * fits, prior.channels, prior.resolution_px, prior.resolution_px)):
        fits *= 2
    return fits


def ran_out(error: RuntimeError) -> bool:
    """Return whether an error says that a device's memory ran out; libraries that take their own have words of their own."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY)


def out_of_memory(prior: LoadedPrior, shape: Sequence[int]) -> ConfigError:
    """Return the error for a batch of `shape` (B, C, H, W) that did not fit; it names the largest B/2, B/4, ... that does."""
    fits = shape[0] // 2
    while fits and not _fits(prior, (fits, *shape[1:])):
        fits //= 2
    what = f"{shape[0]} windows of {shape[3]}×{shape[2]} px do not fit the memory of {device_of(prior)}"
    if not fits:
        return PriorError(f"{what}, nor does a single one; use a smaller prior, a lower precision or a larger device")
    advice = f"set compute.batch_windows to {fits}; rounding depends on it, so it is a new job"
    return BatchTooLarge(f"{what}, {fits} do: {advice}", fits)


def _fits(prior: LoadedPrior, shape: Sequence[int]) -> bool:
    """Return whether the network runs on blank windows of `shape` beside what sampling keeps."""
    device = device_of(prior)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    classes = [0] * shape[0] if prior.num_classes is not None else None
    try:
        # Other shapes would be compiled anew; uncompiled they take more memory rather than less.
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            kept = torch.zeros((_STATES, *shape), device=device)
            prior.labelled(classes, shape[0])(kept[0], torch.zeros(shape[0], dtype=torch.int64, device=device))
    except RuntimeError as error:
        if not ran_out(error):
            raise
        return False
    return True
