"""A look at a sample of a job's rows before anything is spent on them, in a worker: strangers' bytes are not decoded here."""

import logging
import re

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError, ManifestError, redact
from repaint_batch.manifest import Manifest
from repaint_batch.pipeline.dataset import ActorResources
from repaint_batch.preflight import before_run, try_prior
from repaint_batch.preflight.findings import Place
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.storage import Storage

_LOOK_S = 600.0  # decoders may hang
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # in ids, which are strangers' too
_log = logging.getLogger(__name__)


def look_first(config: JobConfig, manifest: Manifest, prior: LoadedPrior, resources: ActorResources) -> None:
    """Log what is wrong with a sample of rows, and hold the job against compute.budget if there is one.

    A sample that crashes its worker, hangs, or cannot be read for the moment is a warning and no more: the job itself
    knows how to go on.

    Args:
        config: the job.
        manifest: its manifest.
        prior: is tried in some windows, where that takes seconds.
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
        looking = task.remote(config, manifest, prior.resolution_px)
        try:
            warnings, places = ray.get(looking, timeout=_LOOK_S)
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
        fit = try_prior(prior, places)
        if fit is not None and (warning := fit.warning(config.prior.source)):
            warnings.append(warning)
        for line in warnings:
            _log.warning("%s", _CONTROL.sub("?", line))


def _look(config: JobConfig, manifest: Manifest, resolution_px: int) -> tuple[list[str], list[Place]]:
    findings = before_run(config, manifest, Storage(config.storage), resolution_px)
    return findings.warnings(), findings.places
