"""The actor that holds a prior."""

import os
import time
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.engine import compile_network
from repaint_batch.pipeline.inflight import InFlight, inflight_uri, work_of
from repaint_batch.pipeline.stages import Job, recorded, windows_of
from repaint_batch.priors.load import load_prior
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage


class Inpainter:
    """Restores the windows of a shard, all rows of it packed into full batches.

    Args:
        job: what to restore, and how.
        threads: CPU threads of the network; they change the speed and not the result.
    """

    def __init__(self, job: Job, threads: int) -> None:
        import ray  # the worker's identity is all that is asked of it

        torch.set_num_threads(threads)
        self._job, self._config = job, job.config
        device = "cuda" if torch.cuda.is_available() else "cpu"
        prior = load_prior(
            self._config.prior, Storage(self._config.storage), device=device, precision=self._config.compute.precision
        )
        self._pipeline = RePaintPipeline.from_prior(prior)
        self._to_compile = self._config.compute.compile
        self._sampler = PRESETS[self._config.sampler.preset]
        self._worker = f"{ray.get_runtime_context().get_node_id()[:8]}/{os.getpid()}"

    def __call__(self, work: pa.Table) -> pa.Table:
        """Return the work table with every window restored."""
        with recorded(self._job, work["shard"][0].as_py()):
            if self._to_compile:
                compile_network(self._pipeline.prior, self._config.compute.batch_windows)
                self._to_compile = False
            return self._inpaint(work)

    def _inpaint(self, work: pa.Table) -> pa.Table:
        started = time.perf_counter()
        rows: list[dict[str, Any]] = work.to_pylist()
        sampled = [row for row in rows if row["status"] == "pending" and row["windows"]]
        if sampled:
            self._restore(sampled)
        total = sum(row["windows"] for row in sampled)
        elapsed = time.perf_counter() - started
        for row in sampled:
            row["inpaint_s"] = elapsed * row["windows"] / total
            row["nfe"], row["worker"] = row["windows"] * self._sampler.nfe, self._worker
        return pa.Table.from_pylist(rows, schema=self._job.work_schema)

    def _restore(self, rows: list[dict[str, Any]]) -> None:
        parts = [windows_of(row, self._job.resolution_px) for row in rows]
        known = torch.from_numpy(np.concatenate([windows for windows, _ in parts])).permute(0, 3, 1, 2).contiguous()
        keep = torch.from_numpy(np.concatenate([keep for _, keep in parts]))[:, None]
        keys = [sample_key(row["seed"], row["sample_id"], window) for row in rows for window in range(row["windows"])]
        plan, compute = self._job.plan, self._config.compute
        uri = inflight_uri(self._job.output, plan.job_id, rows[0]["shard"])
        work = work_of(known, keep, keys, plan.prior_fingerprint, plan.sampler_fingerprint)
        inflight = InFlight(uri, Storage(self._config.storage), work, compute.checkpoint_s)
        restored = self._pipeline.restore(
            known, keep, keys, sampler=self._sampler, batch_windows=compute.batch_windows, checkpoint=inflight
        )
        pixels = restored.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        start = 0
        for row in rows:
            row["__windows"] = pixels[start : start + row["windows"]].tobytes()
            row["__keep"] = None
            start += row["windows"]
