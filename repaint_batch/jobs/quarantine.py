"""Rows that kill their worker, and are not tried again: a small object a shard in the job's folder.

::

    quarantine/SHARD.json
"""

import json
from collections.abc import Mapping

from repaint_batch.errors import SourceMissing
from repaint_batch.jobs.plan import Plan, job_uri
from repaint_batch.storage import Storage


class Quarantine:
    """The rows of one job that are set aside.

    Args:
        output: folder or prefix of the output.
        plan: the job.
        storage: how to reach it.
    """

    def __init__(self, output: str, plan: Plan, storage: Storage) -> None:
        self._output, self._plan, self._storage = output, plan, storage

    def _uri(self, shard: int) -> str:
        return job_uri(self._output, self._plan.job_id, "quarantine", f"{shard:010d}.json")

    def add(self, rows: Mapping[int, str]) -> None:
        """Set rows aside, by number in the manifest, with the reason why."""
        by_shard: dict[int, dict[int, str]] = {}
        for row, reason in rows.items():
            by_shard.setdefault(row // self._plan.shard_rows, {})[row] = reason
        for shard, of_shard in by_shard.items():
            self._storage.write(self._uri(shard), json.dumps({**self.of_shard(shard), **of_shard}).encode())

    def of_shard(self, shard: int) -> dict[int, str]:
        """Return the rows of a shard that are set aside, with the reason."""
        try:
            found = json.loads(self._storage.read(self._uri(shard)))
        except SourceMissing:
            return {}
        return {int(row): str(reason) for row, reason in found.items()}
