"""Whether rows that are to be published take the place of others: only then a commit must rewrite data.

The log gives the range of ids of every file; only files whose range an entry's ids fall into are read, for that one
column, and only once. The answer matters for cost alone: a merge is right in either case.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from repaint_batch.errors import StorageError
from repaint_batch.table.results import ResultsTable
from repaint_batch.table.staging import Entry, hashed_ids
from repaint_batch.uris import join

_READERS = 8
_CUT_BYTES = 64  # texts of this length in the log may have been cut by whoever wrote them, and are no bounds


class KnownIds:
    """Hashes of the ids of a table's files, as far as they were asked for: 8 bytes a row.

    Args:
        table: the table.
    """

    def __init__(self, table: ResultsTable) -> None:
        self._table = table
        self._read: dict[str, np.ndarray] = {}

    def replacing(self, entries: Sequence[Entry]) -> set[str]:
        """Return the paths of entries that may hold an id which the table holds.

        Raises:
            StorageError: files cannot be read.
        """
        with self._table.kept() as delta:
            files = pa.table(delta.get_add_actions(flatten=True))
        asked = {entry.path: _candidates(files, entry) for entry in entries}
        missing = sorted({path for paths in asked.values() for path in paths} - self._read.keys())
        with ThreadPoolExecutor(_READERS) as pool:
            self._read.update(zip(missing, pool.map(self._ids, missing), strict=True))
        found = set()
        for entry in entries:
            wanted = np.frombuffer(entry.ids, np.uint64)
            if any(np.isin(wanted, self._read[path]).any() for path in asked[entry.path]):
                found.add(entry.path)
        return found

    def _ids(self, path: str) -> np.ndarray:
        filesystem, whole = self._table.storage.arrow(join(self._table.uri, path))
        try:
            ids = pq.read_table(whole, filesystem=filesystem, columns=["sample_id"], partitioning=None)["sample_id"]
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{join(self._table.uri, path)}: cannot be read: {error}") from error
        return hashed_ids(ids.to_pylist())


def _candidates(files: pa.Table, entry: Entry) -> list[str]:
    """Return the files among whose ids an entry's may be."""
    stats = json.loads(entry.stats)
    if not {"min.sample_id", "max.sample_id"} <= set(files.column_names):
        return list(files["path"].to_pylist())
    low, high = (files[name].cast(pa.string()) for name in ("min.sample_id", "max.sample_id"))
    below = pc.and_(pc.less(high, stats["minValues"]["sample_id"]), pc.less(pc.binary_length(high), _CUT_BYTES))
    above = pc.greater(low, stats["maxValues"]["sample_id"])
    apart = pc.fill_null(pc.or_kleene(below, above), False)
    return list(files["path"].filter(pc.invert(apart)).to_pylist())
