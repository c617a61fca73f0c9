"""The actor that holds a prior."""

import logging
import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from repaint_batch.config import JobConfig
from repaint_batch.errors import BatchTooLarge, PriorError
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.engine import batch_windows_of, compiled
from repaint_batch.inpainting.pipeline import Checkpoint
from repaint_batch.inpainting.rounds import Unrestored, nfe_of, restore_pictures
from repaint_batch.pipeline.inflight import InFlight, work_of
from repaint_batch.pipeline.stages import (
    Job,
    Row,
    inflight_uri,
    keep_masks_of,
    packed,
    plan_of,
    recorded,
    unpacked,
    windows_of,
)
from repaint_batch.pipeline.stopping import Listener
from repaint_batch.pipeline.telemetry import sampling
from repaint_batch.priors.load import LoadedPrior, load_prior
from repaint_batch.sampler.noise import candidate_seed, sample_key
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage

_log = logging.getLogger(__name__)


def load_for(config: JobConfig) -> LoadedPrior:
    """Return a job's prior on this process's device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_prior(config.prior, Storage(config.storage), device=device, precision=config.compute.precision)


class Restorer:
    """Restores the windows of rows, packed into full batches. What comes out does not depend on which rows share one.

    Attributes:
        batch_windows: windows in one network call; with ``compute.batch_windows: auto`` fewer once memory has run out.

    Args:
        job: what to restore, and how.
        prior: the job's, see `load_for`.
        threads: CPU threads of the network; they change the speed and not the result.
        to_stop: asked after every step whether to save the state and stop.
    """

    def __init__(self, job: Job, prior: LoadedPrior, threads: int, to_stop: Callable[[], bool] = lambda: False) -> None:
        torch.set_num_threads(threads)
        self._to_stop = to_stop
        self._job, self._config = job, job.config
        self._pipeline = RePaintPipeline.from_prior(prior)
        self.batch_windows = batch_windows_of(self._config, prior)
        self._sampler = PRESETS[self._config.sampler.preset]

    @property
    def positions(self) -> int:
        """Steps of the sampler's path."""
        return self._sampler.positions

    def restore(self, rows: list[Row], *, resumable: bool, watcher: Checkpoint | None = None) -> None:
        """Put restored windows in place of the known ones of a shard's rows, which are all pending and have some, and count NFE.

        Of a row with several candidates, all windows of the first come first, then those of the next.

        Args:
            rows: work rows.
            resumable: save the state now and then to the job's folder, and go on from one that is there.
            watcher: shown every state, where the restoration is not resumable.
        """
        candidates = self._config.sampler.candidates
        pictures = [self._unrestored(row, candidate) for row in rows for candidate in range(candidates)]
        while True:
            checkpoint = self._inflight(rows[0]["shard"], pictures) if resumable else watcher
            try:
                restored = self._restored(pictures, checkpoint)
                break
            except BatchTooLarge as error:
                if self._config.compute.batch_windows != "auto":
                    raise
                _log.warning("memory ran out with %d windows in a call; going on with %d", self.batch_windows, error.fits)
                self.batch_windows = error.fits
        for number, row in enumerate(rows):
            first = number * candidates
            row["__windows"] = b"".join(pixels.tobytes() for pixels in restored[first : first + candidates])
            row["__keep"] = None
            row["nfe"] = candidates * nfe_of(pictures[first].plan, self._sampler)

    def _restored(self, pictures: list[Unrestored], checkpoint: Checkpoint | None) -> list[np.ndarray]:
        batch = self.batch_windows
        if self._config.compute.compile and not self._pipeline.prior.compiled:
            self._pipeline = RePaintPipeline.from_prior(compiled(self._pipeline.prior, batch))
        return restore_pictures(self._pipeline, pictures, sampler=self._sampler, batch_windows=batch, checkpoint=checkpoint)

    def _inflight(self, shard: int, pictures: list[Unrestored]) -> InFlight:
        plan, storage = self._job.plan, Storage(self._config.storage)
        uri = inflight_uri(self._job.output, plan.job_id, shard)
        work = work_of(pictures, plan.prior_fingerprint, plan.sampler_fingerprint, str(self.batch_windows))
        return InFlight(uri, storage, work, self._config.compute.checkpoint_s, self._to_stop)

    def _unrestored(self, row: Row, candidate: int) -> Unrestored:
        side = self._job.resolution_px
        plan, orientation = plan_of(row)
        seed = candidate_seed(row["seed"], candidate)
        keys = [sample_key(seed, row["sample_id"], window) for window in range(row["windows"])]
        return Unrestored(windows_of(row, side), keep_masks_of(row, side), plan, orientation, keys)


class Inpainter:
    """The actor: a restorer of whole shards, that stops when it is told to.

    Args:
        job: what to restore, and how.
        threads: CPU threads of the network.
        bell: what to hear when it is to stop, see `stopping`.
    """

    def __init__(self, job: Job, threads: int, bell: Any) -> None:
        import ray  # the worker's identity is all that is asked of it

        self._job, self._threads, self._listener = job, threads, Listener(bell)
        self._worker = f"{ray.get_runtime_context().get_node_id()[:8]}/{os.getpid()}"

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return a packed work table with every window restored."""
        work = unpacked(block)
        with self._listener.working(), recorded(self._job, work["shard"][0].as_py()):
            return packed(self._inpaint(work))

    @cached_property
    def _restorer(self) -> Restorer:
        # Made when the first shard comes, since what fails then counts as an attempt at it: an actor whose constructor
        # raises would end the pass.
        prior, plan = load_for(self._job.config), self._job.plan
        if prior.fingerprint != plan.prior_fingerprint:
            source = self._job.config.prior.source
            raise PriorError(f"prior.source: {source} has other weights here than where the job was planned")
        return Restorer(self._job, prior, self._threads, lambda: self._listener.is_rung)

    def _inpaint(self, work: pa.Table) -> pa.Table:
        started = time.perf_counter()
        rows: list[Row] = work.to_pylist()
        sampled = [row for row in rows if row["status"] == "pending" and row["windows"]]
        total, candidates = sum(row["windows"] for row in sampled), self._job.config.sampler.candidates
        if sampled:
            sampling(self._job.plan.job_id, total * candidates, self._restorer.batch_windows)
            self._restorer.restore(sampled, resumable=True)
        elapsed = time.perf_counter() - started
        for row in sampled:
            row["inpaint_s"] = elapsed * row["windows"] / total
            row["worker"] = self._worker
        return pa.Table.from_pylist(rows, schema=self._job.work_schema)
