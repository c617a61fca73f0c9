"""The actor that holds a prior."""

import contextlib
import os
import threading
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa
import torch

from repaint_batch.config import JobConfig, fingerprint
from repaint_batch.errors import PriorError, StorageError
from repaint_batch.inpainting.device import batch_windows_of, compiled, precision_of, take_share
from repaint_batch.inpainting.engine import Engine
from repaint_batch.inpainting.restorer import Restorer
from repaint_batch.jobs.usage import Usage, write_usage
from repaint_batch.pipeline.coordinator import Ear
from repaint_batch.pipeline.guarding import told
from repaint_batch.pipeline.inflight import InFlight
from repaint_batch.pipeline.job import Job, Row, packed, span_of, unpacked
from repaint_batch.pipeline.loop import EngineLoop, Sampled
from repaint_batch.pipeline.sampling import Done, filled, pictures_of, rows_to_sample
from repaint_batch.pipeline.stopping import Listener
from repaint_batch.pipeline.telemetry import planned, used
from repaint_batch.priors.load import LoadedPrior, load_prior
from repaint_batch.storage import Storage


def load_for(config: JobConfig, *, gpu: bool) -> LoadedPrior:
    """Return a job's prior on this process's GPU, if it was given one, or its CPU."""
    device = "cuda" if gpu and torch.cuda.is_available() else "cpu"
    if device == "cuda":
        take_share(config.compute)
    return load_prior(config.prior, Storage(config.storage), device=device, precision=precision_of(config.compute))


def restorer_for(job: Job, prior: LoadedPrior, threads: int) -> Restorer:
    """Return what restores a job's windows in this process.

    Args:
        job: what to restore, and how.
        prior: the job's, see `load_for`.
        threads: CPU threads of the network; they change the speed and not the result.
    """
    torch.set_num_threads(threads)
    compute = job.config.compute
    prior = compiled(prior) if compute.compile else prior
    batch = batch_windows_of(job.config, prior)
    engine = Engine(prior, job.sampler, batch, may_shrink=compute.batch_windows == "auto")
    return Restorer(engine)


class Inpainter:
    """The actor: takes up several parcels at once, and stops when it is told to.

    Args:
        job: what to restore, and how.
        threads: CPU threads of the network.
        gpu: whether it was given one.
        coordinator: is told what is raised.
        bell: what to hear when it is to stop, see `stopping`.
    """

    def __init__(self, job: Job, threads: int, gpu: bool, coordinator: Any, bell: Any) -> None:
        import ray

        context = ray.get_runtime_context()  # the worker's identity is all that is asked of it
        gpus = context.get_accelerator_ids().get("GPU", [])
        device = f"{context.get_node_id()[:8]}/{','.join(gpus) or 'cpu'}"
        ray.get(coordinator.serves.remote(device))
        self._job, self._threads, self._gpu, self._listener = job, threads, gpu, Listener(bell)
        self._worker = f"{context.get_node_id()[:8]}/{os.getpid()}"
        self._inflight = InFlight(job)
        self._told = partial(told, job, driver=Ear(coordinator, device))
        self._loop: EngineLoop | None = None
        self._lock = threading.Lock()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return a packed work table with every window restored."""
        work = unpacked(block)
        with self._listener.working(), self._told(*span_of(work)):
            return packed(self._inpaint(work))

    def _engine_loop(self) -> EngineLoop:
        # Made when the first parcel comes, since what fails then counts as an attempt at it: an actor whose constructor
        # raises would end the pass.
        with self._lock:
            if self._loop is None:
                config = self._job.config
                prior = load_for(config, gpu=self._gpu)
                if prior.fingerprint != self._job.plan.prior_fingerprint:
                    raise PriorError(
                        f"prior.source: {config.prior.source} has other weights here than where the job was planned"
                    )
                self._loop = EngineLoop(
                    lambda: restorer_for(self._job, prior, self._threads),
                    self._inflight,
                    config.compute.checkpoint_s,
                    lambda: self._listener.is_rung,
                    self._tell,
                )
            return self._loop

    def _tell(self, usage: Usage) -> None:
        """Say how the device is used: to metrics, and in the job's folder for reports."""
        job = self._job
        used(job.plan.job_id, usage)
        planned(job.plan.job_id, job.output, job.plan.rows)
        with contextlib.suppress(StorageError):  # a figure that is late ends nothing
            write_usage(job.output, job.plan.job_id, self._worker, asdict(usage), job.storage)

    def _inpaint(self, work: pa.Table) -> pa.Table:
        rows = rows_to_sample(work)
        if not rows:
            return work
        loop = self._engine_loop()
        windows = self._job.config.sampler.candidates * sum(row["windows"] for row in rows.values())
        sampled = loop.restore(lambda: [self._sampled(row) for row in rows.values()], windows)
        done = {
            place: Done(one.underway, is_saved=one.state is not None and one.state.is_saved)
            for place, one in zip(rows, sampled, strict=True)
        }
        return filled(work, rows, done, self._job, self._worker, loop.usage().evaluation_s)

    def _sampled(self, row: Row) -> Sampled:
        pictures = pictures_of(self._job, row)
        # Results of another number of windows in a call differ by rounding: a state is used where that is the same.
        decides = [row["work_key"], self._job.config.compute.batch_windows, "holes as stored"]
        if self._job.config.images.masks is not None:
            decides.append(row["mask_uri"])  # another machine may have found another mask
        state = self._inflight.state_of(row["row"], fingerprint(*decides))
        saved = self._inflight.load(state, len(pictures)) if row["__saved"] else None
        return Sampled(row["row"], pictures, state, saved)
