"""The rows of a Delta table as they were written, or an error.

deltalake says of which files a version of the table consists. They are read by pyarrow through this package's own filesystem,
which notices what was damaged on its way. deltalake's query engine does not: a flipped bit comes out as another word in a row,
and an answer that ends early can make it wait for ever. The log itself is read by deltalake, and protected by TLS alone.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from repaint_batch.storage import Storage

_TRIES = 5
_PAUSE_S = 0.2  # before the second; doubled for each one after it
_BATCH_ROWS = 64  # of which restored pictures may be a part
_T = TypeVar("_T")

Filters = Sequence[tuple[str, str, Any]]
"""Conditions that all hold: column, one of ``= != < <= > >= in``, and a value; for ``in`` a list of them."""


class Snapshot:
    """The rows of one version of a table.

    Args:
        table: that version.
        uri: folder or prefix of the table.
        storage: how to reach it.
    """

    def __init__(self, table: DeltaTable, uri: str, storage: Storage) -> None:
        filesystem, path = storage.arrow(uri)
        self._table, self._files = table, pyarrow.fs.SubTreeFileSystem(path, filesystem)

    def read(self, columns: Sequence[str] | None = None, where: Filters = ()) -> pa.Table:
        """Return rows, in no particular order.

        Args:
            columns: all by default.
            where: which rows; all by default.
        """
        if not where:
            return self._dataset().to_table(columns=list(columns) if columns else None)
        # Files without such rows are passed over; the others are read and then filtered, since pyarrow cannot push a condition
        # down into files that a merge has written with other types of text.
        names = None if columns is None else [*dict.fromkeys([*columns, *(name for name, _, _ in where)])]
        found = self._dataset(where).to_table(columns=names).filter(pq.filters_to_expression(list(where)))
        return found.select(columns) if columns else found

    def batches(self, columns: Sequence[str] | None = None, rows: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """Yield rows in batches of at most `rows`, never all at once; restored pictures make them large."""
        names = list(columns) if columns else None
        yield from self._dataset().to_batches(names, batch_size=rows, batch_readahead=1, fragment_readahead=1)

    def count_by(self, *keys: str) -> Counter[tuple[Any, ...]]:
        """Return how many rows there are of each combination of values of some columns.

        A file of which the log's statistics say that all its rows have the same is not read.
        """
        found: Counter[tuple[Any, ...]] = Counter()
        told = self._uniform(keys)
        for _, values, rows in told:
            found[values] += rows
        settled = {path for path, _, _ in told}
        whole = self._dataset()
        unsettled = [fragment for fragment in whole.get_fragments() if fragment.path not in settled]
        if unsettled:
            rest = ds.FileSystemDataset(unsettled, whole.schema, whole.format, self._files).to_table(columns=list(keys))
            grouped = rest.group_by(list(keys)).aggregate([([], "count_all")])
            for *group, rows in zip(*(grouped[name].to_pylist() for name in (*keys, "count_all")), strict=True):
                found[tuple(group)] += rows
        return found

    def _uniform(self, keys: Sequence[str]) -> list[tuple[str, tuple[Any, ...], int]]:
        """Return path, values and number of rows of each file that the log knows to hold one combination of values."""
        files = pa.table(self._table.get_add_actions(flatten=True))
        stats = [[f"{what}.{key}" for key in keys] for what in ("min", "max", "null_count")]
        if not all(name in files.column_names for names in stats for name in names):
            return []
        least, most, nulls = (list(zip(*(files[name].to_pylist() for name in names), strict=True)) for names in stats)
        known = zip(files["path"].to_pylist(), least, most, nulls, files["num_records"].to_pylist(), strict=True)
        none = (0,) * len(keys)
        return [(path, low, rows) for path, low, high, missing, rows in known if low == high and missing == none and rows]

    def _dataset(self, where: Filters = ()) -> ds.Dataset:
        return self._table.to_pyarrow_dataset(filesystem=self._files, file_pruning_predicate=list(where) or None)


def patiently(question: Callable[[], _T]) -> _T:
    """Return the answer to a question about a table; damaged or missing answers are asked for again."""
    for tried in range(_TRIES - 1):
        try:
            return question()
        except TableNotFoundError:
            raise
        except Exception:  # deltalake raises nothing more particular where it reads damaged bytes, and a log may name wrong files
            time.sleep(_PAUSE_S * 2**tried)
    return question()
