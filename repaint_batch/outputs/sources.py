"""Where a results row's pictures are: in the results table, in the manifest, or behind the URIs that these name."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

from repaint_batch.errors import RepaintBatchError
from repaint_batch.jobs.plan import Plan
from repaint_batch.manifest import image_bytes_or_uri, read_rows, result_id
from repaint_batch.outputs.naming import masks_prefix, read_output
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, normalise

_SHARDS_KEPT = 16

Row = dict[str, Any]


class Sources:
    """Fetches the pictures of results rows, obeying the same allow-list as the job did; several threads may ask at once.

    Args:
        output: URI of the output.
        storage: how to reach it.
        plans: jobs of the output.
    """

    def __init__(self, output: str, storage: Storage, plans: Sequence[Plan]) -> None:
        self._output, self._storage = normalise(output), storage
        self._plans = {plan.job_id: plan for plan in plans}
        self._policies = {plan.job_id: _policy(plan, self._output) for plan in plans}
        self._limits = {plan.job_id: plan.job_config.images.max_bytes for plan in plans}
        self._lock = Lock()
        self._shards: OrderedDict[tuple[str, int], dict[str, Row]] = OrderedDict()

    def __call__(self, row: Row) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return (source, mask, output), encoded; None for each that cannot be had."""
        return self.given(row, "image"), self.given(row, "mask"), self.output_of(row)

    def given(self, row: Row, name: str) -> bytes | None:
        """Return what the manifest gave as ``image`` or ``mask``; None if it cannot be had."""
        job_id, uri = row["job_id"], row[f"{name}_uri"]
        if job_id not in self._plans:
            return None
        try:
            if uri is None:
                data, uri = image_bytes_or_uri(self._manifest_row(row).get(name))
                if data is not None:
                    return data
            return self._policies[job_id].read(uri, self._storage, self._limits[job_id]) if uri else None
        except (RepaintBatchError, OSError):
            return None

    def output_of(self, row: Row) -> bytes | None:
        """Return the restored picture; None if it cannot be had."""
        try:
            return read_output(row, self._output, self._storage) or None
        except (RepaintBatchError, OSError):
            return None

    def _manifest_row(self, row: Row) -> Row:
        with self._lock:
            return self._shard_of(row).get(row["sample_id"], {})

    def _shard_of(self, row: Row) -> dict[str, Row]:
        key = row["job_id"], row["shard"]
        if key not in self._shards:
            plan = self._plans[row["job_id"]]
            start, stop = plan.shard_range(row["shard"])
            try:
                rows = read_rows(plan.files, start, stop, self._storage).select(["sample_id", "image", "mask"])
                self._shards[key] = {result_id(found["sample_id"]): found for found in rows.to_pylist()}
            except (RepaintBatchError, OSError):
                self._shards[key] = {}  # a manifest that has moved is asked for once and not for every row
            while len(self._shards) > _SHARDS_KEPT:
                self._shards.popitem(last=False)
        self._shards.move_to_end(key)
        return self._shards[key]


def _policy(plan: Plan, output: str) -> UriPolicy:
    allow = (*plan.job_config.storage.allow, masks_prefix(output))
    return UriPolicy(plan.base, tuple(normalise(prefix) for prefix in allow))
