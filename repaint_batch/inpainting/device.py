"""What a device can do: compile, and how many windows of a network call it holds.

Nothing here may change a result behind the owner's back. Compilation and batch size both change rounding, so both are
part of a job's identity: a missing compiler is found out before a job is planned, and a batch that does not fit the device
is an error that names one that does. Only an owner who asked for ``compute.batch_windows: auto`` gets another one.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from repaint_batch.config import JobConfig
from repaint_batch.errors import BatchTooLarge, ConfigError, PriorError
from repaint_batch.priors.loaded import LoadedPrior

_CPU_WINDOWS = 16
_MOST_WINDOWS = 256
_STATES = 16
"""Copies of a batch's windows that sampling keeps beside the network's own memory: states, noise and its words, drafts."""


def missing_compiler() -> str | None:
    """Return why networks cannot be compiled on this machine, in one line; None where they can."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "there is no C++ compiler (g++ or clang++)"
    return None


def compiled(prior: LoadedPrior) -> LoadedPrior:
    """Return `prior` with its network compiled, in place; the first call of each batch's shape waits for the compiler.

    Compiled code is kept in torch's cache in the temporary folder (TORCHINDUCTOR_CACHE_DIR moves it), which the processes
    of a node share: the first one compiles, later ones read. On CUDA the kernels of an evaluation are recorded as
    one graph.

    Raises:
        ConfigError: this machine has no compiler.
    """
    reason = missing_compiler()
    if reason:
        raise ConfigError(f"compute.compile: {reason}; install one on every node, or leave compute.compile out")
    if not prior.compiled:
        how = {"mode": "reduce-overhead"} if device_of(prior).type == "cuda" else {}
        prior.network.compile(dynamic=False, **how)
    return replace(prior, compiled=True)


def device_of(prior: LoadedPrior) -> torch.device:
    """Return where a prior computes."""
    return next(prior.network.parameters()).device


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
    except torch.OutOfMemoryError:
        return False
    return True
