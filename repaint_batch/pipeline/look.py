"""A look at a sample of a job's rows before anything is spent on them, in a worker: strangers' bytes are not decoded here."""

import logging
import re

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError, ManifestError, redact
from repaint_batch.manifest import Manifest
from repaint_batch.pipeline.dataset import ActorResources
from repaint_batch.preflight import before_run
from repaint_batch.storage import Storage

_LOOK_S = 600.0  # decoders may hang
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # in ids, which are strangers' too
_log = logging.getLogger(__name__)


def look_first(config: JobConfig, manifest: Manifest, resolution_px: int, resources: ActorResources) -> None:
    """Log what is wrong with a sample of rows, and hold the job against compute.budget if there is one.

    A sample that crashes its worker, hangs, or cannot be read for the moment is a warning and no more: the job itself
    knows how to go on.

    Args:
        config: the job.
        manifest: its manifest.
        resolution_px: side of the prior's input.
        resources: what an actor takes; a budget is judged on as much.

    Raises:
        ManifestError: every row that was looked at would fail.
        ConfigError: the job is over its budget.
    """
    timed = config.compute.budget is not None
    task = ray.remote(_look).options(
        num_cpus=resources.num_cpus, num_gpus=resources.num_gpus if timed else None, max_retries=0
    )
    try:
        looking = task.remote(config, manifest, resolution_px)
        try:
            warnings = ray.get(looking, timeout=_LOOK_S)
        except GetTimeoutError:
            ray.cancel(looking, force=True)
            raise
    except RayTaskError as error:
        if isinstance(error.cause, ConfigError | ManifestError):
            raise error.cause from None
        _log.warning("rows could not be looked at before the run: %s", redact(f"{type(error.cause).__name__}: {error.cause}"))
    except RayError as error:
        _log.warning(
            "a look at some rows before the run ended with %s; the run finds out which row it is", type(error).__name__
        )
    else:
        for line in warnings:
            _log.warning("%s", _CONTROL.sub("?", line))


def _look(config: JobConfig, manifest: Manifest, resolution_px: int) -> list[str]:
    return before_run(config, manifest, Storage(config.storage), resolution_px).warnings()
