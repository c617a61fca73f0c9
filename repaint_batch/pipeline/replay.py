"""One row once more, in this process and without Ray, to see whether it comes out the same.

Noise is keyed by seed, sample and window, and the network sees batches of one shape, so a row restored alone has the same
bytes as one that shared its batches, on the same kind of machine with the same libraries. Another processor, GPU or version
of torch rounds differently.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from repaint_batch.errors import ConfigError, NothingToResume
from repaint_batch.images.orientation import upright
from repaint_batch.inpainting.restorer import Restorer, Underway
from repaint_batch.jobs.plan import Plan, load_plan
from repaint_batch.manifest import image_bytes_or_uri, read_rows
from repaint_batch.pipeline.actor import load_for, restorer_for
from repaint_batch.pipeline.job import Job, Row
from repaint_batch.pipeline.sampling import sampled_here
from repaint_batch.pipeline.stages import decode, encode
from repaint_batch.sampler.run import ChainState, OnStep
from repaint_batch.schema import passthrough
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import normalise


@dataclass(frozen=True)
class Replay:
    """A row restored again.

    Attributes:
        row: as the table has it.
        again: as it came out now; its picture is in ``output``, and nothing of it was stored.
    """

    row: Row
    again: Row

    @property
    def is_equal(self) -> bool:
        """Whether it came out byte for byte as recorded."""
        names = ("status", "output_sha256", "output_bytes")
        return all(self.row[name] == self.again[name] for name in names)

    @property
    def picture(self) -> Image.Image | None:
        """The picture as it came out now; None of a row without a hole, or one that fails."""
        data = self.again["output"]
        if not data:
            return None
        found = Image.open(io.BytesIO(data))
        found.load()
        return found

    @property
    def difference(self) -> str | None:
        """What is different, and why that may be; None if nothing is."""
        if self.is_equal:
            return None
        if self.again["status"] == "failed":
            return f"it fails now: {self.again['error_class']}: {self.again['reason']}"
        if self.again["work_key"] != self.row["work_key"]:
            return "the picture, the mask or a setting is not what it was when the row was restored"
        return (
            "the same work came out differently; expected on another kind of machine or with other versions of the libraries, "
            "otherwise the recorded picture was tampered with or the computation is not repeatable"
        )


Watch = Callable[[int, int], OnStep]
"""Asked once, with the steps of the path and the windows that are shown, for what is handed every state of them."""


class _Watcher:
    """Shows the windows that begin a row's first candidate: as many as share one network call, all at the same step."""

    def __init__(self, restorer: Restorer, nfe: int, watch: Watch) -> None:
        self._restorer, self._nfe, self._watch = restorer, nfe, watch
        self._shown: list[int] = []
        self._on_step: OnStep | None = None
        self._position = 0

    def __call__(self, underway: Underway) -> None:
        plan = underway.picture.plan
        if self._on_step is None:
            first = [number for number, window in enumerate(plan) if window.parent is None and window.round == 0]
            self._shown = first[: self._restorer.engine.batch_windows]
            self._on_step = self._watch(self._nfe, len(self._shown))
        if self._position == self._nfe:
            return
        states = self._restorer.states().get(underway, {})
        self._position += 1
        windows = []
        for number in self._shown:
            pixels = underway.restored[number]
            if pixels is None:
                windows.append(states[number][1])
            else:
                shown = np.ascontiguousarray(upright(pixels, underway.picture.orientation))
                windows.append(torch.from_numpy(shown).movedim(-1, 0))
        x_t = torch.stack(windows)
        self._on_step(ChainState(self._position, x_t, x_t))


def replay(output: str, sample_id: str, storage: Storage | None = None, watch: Watch | None = None) -> Replay:
    """Return a row as recorded and as it comes out of its manifest, prior and settings now; nothing is written.

    Args:
        output: folder or prefix of the output.
        sample_id: the row.
        storage: how to reach it; by default as the environment says.
        watch: who wants to see the restoration; not asked where there is none to see.

    Raises:
        NothingToResume: the table has no such row.
        ConfigError: the row failed, so that there is nothing to compare with, or the prior is another one now.
    """
    storage = storage or Storage()
    row = _recorded(output, sample_id, storage)
    if row["status"] == "failed":
        raise ConfigError(f"{sample_id} failed ({row['error_class']}): no picture to compare with; `retry-failed` runs it again")
    plan = load_plan(output, row["job_id"], storage)
    # Into the row, whatever the job says: files of the output are not to be written over.
    config = {**plan.config, "output": {**plan.config["output"], "images": "table"}}
    plan = replace(plan, config={**config, "storage": {**config["storage"], **_reached(storage)}})
    manifest = _manifest_row(plan, row, storage)
    compute = plan.job_config.compute
    prior = load_for(plan.job_config, gpu=torch.cuda.is_available())
    if prior.fingerprint != plan.prior_fingerprint:
        source = plan.config["prior"]["source"]
        raise ConfigError(f"prior.source: {source} has other weights than when {sample_id} was restored; put those back")
    job = Job(plan, normalise(output), tuple(passthrough(manifest.schema)), prior.resolution_px)
    (work,) = decode(manifest, job, row["row"])
    restorer = restorer_for(job, prior, max(1, round(compute.num_cpus or 1)))
    watcher = _Watcher(restorer, job.sampler.nfe, watch) if watch else None

    def on_step(done: dict[int, Any]) -> None:
        if watcher is not None:
            watcher(done[0].underway[0])

    return Replay(row, encode(sampled_here(work, job, restorer, on_step), job).to_pylist()[0])


def _recorded(output: str, sample_id: str, storage: Storage) -> Row:
    table = ResultsTable(output, storage)
    columns = ("sample_id", "status", "error_class", "job_id", "row", "mask_uri", "work_key", "output_sha256", "output_bytes")
    found = list(table.rows(columns, [("sample_id", "=", sample_id)])) if table.exists() else []
    if not found:
        raise NothingToResume(f"{sample_id!r:.200}: no such row in {output}; check the sample_id")
    return found[0]


def _manifest_row(plan: Plan, row: Row, storage: Storage) -> Any:
    """Return a row of the manifest; in place of a mask that was found stands the one that was kept."""
    rows = read_rows(plan.files, row["row"], row["row"] + 1, storage)
    place = rows.column_names.index("mask")
    if row["mask_uri"] is None or image_bytes_or_uri(rows["mask"][0].as_py()) != (None, None):
        return rows
    return rows.set_column(place, "mask", pa.array([row["mask_uri"]], pa.string()))


def _reached(storage: Storage) -> dict[str, Any]:
    """Return the settings by which `storage` was told to reach the store, where it was."""
    return {name: value for name, value in storage.config.model_dump(mode="json").items() if value}
