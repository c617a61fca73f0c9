"""How a network is run: compiled or not, and what is said when it does not fit.

Nothing here may change a result behind the owner's back. Compilation and batch size both change rounding, so both are
part of a job's identity: a missing compiler is found out before a job is planned, and a batch that does not fit the device
is an error that names one that does. Only an owner who asked for ``compute.batch_windows: auto`` gets another one.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from repaint_batch.config import JobConfig
from repaint_batch.errors import BatchTooLarge, ConfigError, PriorError
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.noise import KeyedNoise, Role

_CPU_WINDOWS = 16
_MOST_WINDOWS = 256


def missing_compiler() -> str | None:
    """Return why networks cannot be compiled on this machine, in one line; None where they can."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "there is no C++ compiler (g++ or clang++)"
    return None


def compiled(prior: LoadedPrior, batch_windows: int) -> LoadedPrior:
    """Return `prior` with its network (in place) and its noise compiled, and run once so that no batch waits for the compiler.

    Compiled code is kept in torch's cache in the temporary folder (TORCHINDUCTOR_CACHE_DIR moves it), which the processes
    of a node share: the first one compiles, later ones read. On CUDA the kernels of an evaluation are recorded as
    one graph.

    Args:
        prior: its network will be called with batches of one shape.
        batch_windows: B of that shape.

    Raises:
        ConfigError: this machine has no compiler; BatchTooLarge: the batch does not fit the device.
    """
    reason = missing_compiler()
    if reason:
        raise ConfigError(f"compute.compile: {reason}; install one on every node, or leave compute.compile out")
    device = next(prior.network.parameters()).device
    how = {"mode": "reduce-overhead"} if device.type == "cuda" else {}
    prior.network.compile(dynamic=False, **how)
    shape = batch_windows, prior.channels, prior.resolution_px, prior.resolution_px
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on diffusers' code
            evaluate_once(prior, shape)
            noise = KeyedNoise([0] * batch_windows, shape[1:], device, compiled=True)
            with torch.inference_mode():
                noise(0, Role.INITIAL)
        return replace(prior, compiled=True)
    except torch.OutOfMemoryError:
        pass
    raise out_of_memory(prior, shape)


def evaluate_once(prior: LoadedPrior, shape: Sequence[int]) -> None:
    """Run the network once on blank windows of `shape` (B, C, H, W).

    Raises:
        torch.OutOfMemoryError: it does not fit.
    """
    device = next(prior.network.parameters()).device
    classes = [0] * shape[0] if prior.num_classes is not None else None
    # Compiled code is specialised to strides too, so the time is one number expanded, as samplers give it.
    with torch.inference_mode():
        t = torch.zeros((), dtype=torch.int64, device=device).expand(shape[0])
        prior.labelled(classes, shape[0])(torch.zeros(tuple(shape), device=device), t)


def batch_windows_of(config: JobConfig, prior: LoadedPrior) -> int:
    """Return the windows of a network call: the config's number, or for ``auto`` what suits this process's device.

    On a CPU larger batches are not faster, and memory that runs out is no error but the end of the process.
    """
    asked = config.compute.batch_windows
    if asked != "auto":
        return asked
    if next(prior.network.parameters()).device.type == "cpu":
        return _CPU_WINDOWS
    # Places beyond a shard's windows would be padding.
    return largest_batch(prior, min(_MOST_WINDOWS, config.compute.shard_rows * config.sampler.candidates))


def largest_batch(prior: LoadedPrior, most: int) -> int:
    """Return the largest of 1, 2, 4, ... windows that fits the device, and no larger than holds `most`."""
    fits = 1
    while fits < most and _fits(prior, (2 * fits, prior.channels, prior.resolution_px, prior.resolution_px)):
        fits *= 2
    return fits


def out_of_memory(prior: LoadedPrior, shape: Sequence[int]) -> ConfigError:
    """Return the error for a batch of `shape` (B, C, H, W) that did not fit; it names the largest B/2, B/4, ... that does."""
    device = next(prior.network.parameters()).device
    fits = shape[0] // 2
    while fits and not _fits(prior, (fits, *shape[1:])):
        fits //= 2
    what = f"{shape[0]} windows of {shape[3]}×{shape[2]} px do not fit the memory of {device}"
    if not fits:
        return PriorError(f"{what}, nor does a single one; use a smaller prior, a lower precision or a larger device")
    advice = f"set compute.batch_windows to {fits}; rounding depends on it, so it is a new job"
    return BatchTooLarge(f"{what}, {fits} do: {advice}", fits)


def _fits(prior: LoadedPrior, shape: Sequence[int]) -> bool:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        # Other shapes would be compiled anew; uncompiled they take more memory rather than less.
        with torch.compiler.set_stance("force_eager"):
            evaluate_once(prior, shape)
    except torch.OutOfMemoryError:
        return False
    return True
