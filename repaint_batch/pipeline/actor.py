"""The actor that holds a prior."""

import os
import time

import numpy as np
import pyarrow as pa
import torch

from repaint_batch.config import JobConfig
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.engine import compile_network
from repaint_batch.pipeline.inflight import InFlight, inflight_uri, work_of
from repaint_batch.pipeline.stages import Job, Row, keep_masks_of, recorded, windows_of
from repaint_batch.priors.load import LoadedPrior, load_prior
from repaint_batch.sampler.noise import candidate_seed, sample_key
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage


def load_for(config: JobConfig) -> LoadedPrior:
    """Return a job's prior on this process's device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_prior(config.prior, Storage(config.storage), device=device, precision=config.compute.precision)


class Restorer:
    """Restores the windows of rows, packed into full batches. What comes out does not depend on which rows share one.

    Args:
        job: what to restore, and how.
        prior: the job's, see `load_for`.
        threads: CPU threads of the network; they change the speed and not the result.
    """

    def __init__(self, job: Job, prior: LoadedPrior, threads: int) -> None:
        torch.set_num_threads(threads)
        self._job, self._config = job, job.config
        self._pipeline = RePaintPipeline.from_prior(prior)
        self._to_compile = self._config.compute.compile
        self._sampler = PRESETS[self._config.sampler.preset]

    @property
    def nfe(self) -> int:
        """Network evaluations that a window costs, all its candidates together."""
        return self._sampler.nfe * self._config.sampler.candidates

    def restore(self, rows: list[Row], *, resumable: bool) -> None:
        """Put restored windows in place of the known ones of a shard's rows, which are all pending and have some.

        Of a row with several candidates, all windows of the first come first, then those of the next.

        Args:
            rows: work rows.
            resumable: save the state now and then to the job's folder, and go on from one that is there.
        """
        if self._to_compile:
            compile_network(self._pipeline.prior, self._config.compute.batch_windows)
            self._to_compile = False
        side, candidates = self._job.resolution_px, range(self._config.sampler.candidates)
        known = torch.from_numpy(np.concatenate([windows_of(row, side) for row in rows for _ in candidates]))
        known = known.permute(0, 3, 1, 2).contiguous()
        keep = torch.from_numpy(np.concatenate([keep_masks_of(row, side) for row in rows for _ in candidates]))[:, None]
        keys = [
            sample_key(candidate_seed(row["seed"], candidate), row["sample_id"], window)
            for row in rows
            for candidate in candidates
            for window in range(row["windows"])
        ]
        plan, compute = self._job.plan, self._config.compute
        inflight = None
        if resumable:
            uri = inflight_uri(self._job.output, plan.job_id, rows[0]["shard"])
            work = work_of(known, keep, keys, plan.prior_fingerprint, plan.sampler_fingerprint)
            inflight = InFlight(uri, Storage(self._config.storage), work, compute.checkpoint_s)
        restored = self._pipeline.restore(
            known, keep, keys, sampler=self._sampler, batch_windows=compute.batch_windows, checkpoint=inflight
        )
        pixels = restored.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        start = 0
        for row in rows:
            stop = start + row["windows"] * len(candidates)
            row["__windows"] = pixels[start:stop].tobytes()
            row["__keep"] = None
            start = stop


class Inpainter:
    """The actor: a restorer of whole shards.

    Args:
        job: what to restore, and how.
        threads: CPU threads of the network.
    """

    def __init__(self, job: Job, threads: int) -> None:
        import ray  # the worker's identity is all that is asked of it

        self._job = job
        self._restorer = Restorer(job, load_for(job.config), threads)
        self._worker = f"{ray.get_runtime_context().get_node_id()[:8]}/{os.getpid()}"

    def __call__(self, work: pa.Table) -> pa.Table:
        """Return the work table with every window restored."""
        with recorded(self._job, work["shard"][0].as_py()):
            return self._inpaint(work)

    def _inpaint(self, work: pa.Table) -> pa.Table:
        started = time.perf_counter()
        rows: list[Row] = work.to_pylist()
        sampled = [row for row in rows if row["status"] == "pending" and row["windows"]]
        if sampled:
            self._restorer.restore(sampled, resumable=True)
        total = sum(row["windows"] for row in sampled)
        elapsed = time.perf_counter() - started
        for row in sampled:
            row["inpaint_s"] = elapsed * row["windows"] / total
            row["nfe"], row["worker"] = row["windows"] * self._restorer.nfe, self._worker
        return pa.Table.from_pylist(rows, schema=self._job.work_schema)
