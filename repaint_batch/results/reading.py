"""The rows of a Delta table as they were written, or an error.

deltalake says of which files a version of the table consists. They are read by pyarrow through this package's own filesystem,
which notices what was damaged on its way. deltalake's query engine does not: a flipped bit comes out as another word in a row,
and an answer that ends early can make it wait for ever. The log itself is read by deltalake, and protected by TLS alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from pyarrow.acero import AggregateNodeOptions, Declaration, ScanNodeOptions

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

    def grouped(self, keys: Sequence[str], totals: Mapping[str, tuple[str, str]]) -> pa.Table:
        """Return totals of groups of rows, in the order of their keys; the rows themselves are never held.

        Args:
            keys: columns whose values make a group.
            totals: by name, a column and what is made of it: count, sum, max, as pyarrow calls it.
        """
        columns = sorted({*keys, *(column for column, _ in totals.values())})
        scanned = Declaration("scan", ScanNodeOptions(self._dataset(), columns=columns))
        steps = [(column, f"hash_{function}", None, name) for name, (column, function) in totals.items()]
        totalled = Declaration("aggregate", AggregateNodeOptions(steps, keys=list(keys)))
        return Declaration.from_sequence([scanned, totalled]).to_table().sort_by([(key, "ascending") for key in keys])

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
