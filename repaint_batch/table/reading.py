"""The rows of a Delta table as they were written, or an error.

deltalake's query engine reads no more than it must, and checks nothing: a bit that flips on the way comes out as another word
in a row, and an answer that ends early can make it wait for ever. So it is used only where files are local or TLS protects them.
Elsewhere deltalake says which files make up a version of the table, and pyarrow reads them through this package's own
filesystem, which notices what was damaged. The log itself is always read by deltalake.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from repaint_batch.errors import ConfigError, Stopped, StoreUnavailable
from repaint_batch.schema import RESULTS, RISK
from repaint_batch.storage import Storage
from repaint_batch.uris import join

_TRIES = 5
_PAUSE_S = 0.2  # before the second; doubled for each one after it
_BATCH_ROWS = 64  # of which restored pictures may be a part
_T = TypeVar("_T")

Filters = Sequence[tuple[str, str, Any]]
"""Conditions that all hold: column, one of ``= != < <= > >= in``, and a value; for ``in`` a list with at least one."""
Order = Sequence[tuple[str, Literal["ascending", "descending"]]]
"""Columns by which rows are sorted; nulls come last."""


class Snapshot:
    """The rows of one version of a table.

    Args:
        table: that version.
        uri: folder or prefix of the table.
        storage: how to reach it.
    """

    def __init__(self, table: DeltaTable, uri: str, storage: Storage) -> None:
        filesystem, path = storage.arrow(uri)
        self._uri = uri
        self._table, self._files = table, pyarrow.fs.SubTreeFileSystem(path, filesystem)
        self._schema = pa.schema(table.schema().to_arrow())
        self._engine = QueryBuilder().register("rows", table) if storage.is_protected(uri) else None

    @property
    def version(self) -> int:
        """The version."""
        return int(self._table.version())

    @property
    def names(self) -> list[str]:
        """Columns of the table, in order."""
        return list(self._schema.names)

    def read(
        self, columns: Sequence[str] | None = None, where: Filters = (), order: Order = (), most: int | None = None
    ) -> pa.Table:
        """Return rows.

        Args:
            columns: all by default; those of `RISK` are null where an earlier edition wrote the table.
            where: which rows; all by default.
            order: in which order; none in particular by default.
            most: no more than so many, the first in that order.

        Raises:
            ConfigError: it has no such column.
        """
        absent = [name for name in RISK if name not in self._schema.names]
        if asked := [name for name in columns or () if name in absent]:
            ordered = [by for by in order if by[0] not in absent]
            found = self.read([name for name in columns or () if name not in asked], where, ordered, most)
            for name in asked:
                found = found.append_column(RESULTS.field(name), pa.nulls(len(found), RESULTS.field(name).type))
            return found.select(list(columns or ()))
        self._check(columns)
        if self._engine is not None:
            answer = pa.table(self._engine.execute(_query(columns, where, order, most)).read_all())
            # Text comes as views, with which little of pyarrow can be done.
            return answer.cast(pa.schema([self._schema.field(name) for name in answer.column_names]))
        named = [*(name for name, _, _ in where), *(name for name, _ in order)]
        batches = self._checked(None if columns is None else [*dict.fromkeys([*columns, *named])], where)
        # Filtered here: pyarrow cannot push a condition down into files that a merge has written with other types of text.
        wanted = pq.filters_to_expression(list(where)) if where else ds.scalar(True)
        found = pa.concat_tables(pa.Table.from_batches([batch]).filter(wanted) for batch in batches)
        if order:
            found = found.take(pc.select_k_unstable(found, len(found) if most is None else min(most, len(found)), list(order)))
        return found.select(list(columns)) if columns else found

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows in batches, never all at once; restored pictures make them large."""
        self._check(columns)
        if self._engine is None:
            yield from self._checked(columns)
        else:
            yield from pa.RecordBatchReader.from_stream(self._engine.execute(_query(columns)))

    def files(self) -> list[tuple[str, int]]:
        """Return path and bytes of each data file."""
        files = pa.table(self._table.get_add_actions())
        return list(zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True))

    def rows_of(self, paths: Sequence[str]) -> pa.Table:
        """Return all rows of some data files, with the table's columns."""
        whole, wanted = self._dataset(), set(paths)
        some = [fragment for fragment in whole.get_fragments() if fragment.path in wanted]
        assert len(some) == len(wanted), "the log has other paths than the files"
        return ds.FileSystemDataset(some, whole.schema, whole.format, self._files).to_table()

    def _check(self, columns: Sequence[str] | None) -> None:
        if lacking := [name for name in columns or () if name not in self._schema.names]:
            raise ConfigError(
                f"{self._uri} holds results of an earlier edition: it has no column {', '.join(map(repr, lacking))}; "
                "look at them with the edition that made them, or restore anew to another output"
            )

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

    def _checked(self, columns: Sequence[str] | None = None, where: Filters = ()) -> Iterator[pa.RecordBatch]:
        """Yield rows of the files that may hold some that meet the conditions; at least one batch, which may be empty."""
        found = self._dataset(where)
        names = list(columns) if columns else None
        yield pa.RecordBatch.from_pylist([], found.scanner(names).projected_schema)
        # Page by page; by default whole row groups are fetched beforehand.
        frugal = ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
        yield from found.to_batches(
            names, batch_size=_BATCH_ROWS, batch_readahead=1, fragment_readahead=1, fragment_scan_options=frugal
        )

    def _dataset(self, where: Filters = ()) -> ds.Dataset:
        return self._table.to_pyarrow_dataset(filesystem=self._files, file_pruning_predicate=list(where) or None)


def data_files(table: DeltaTable, uri: str) -> list[str]:
    """Return the URIs of a version's data files, below the `uri` of its table; deltalake's own are percent-encoded."""
    return [join(uri, path) for path in pa.table(table.get_add_actions())["path"].to_pylist()]


def _query(columns: Sequence[str] | None = None, where: Filters = (), order: Order = (), most: int | None = None) -> str:
    selected = ", ".join(map(_quoted, columns)) if columns else "*"
    conditions = "".join(f" and {_quoted(name)} {how} {_literal(value)}" for name, how, value in where)
    sorting = {"ascending": "asc", "descending": "desc"}
    ordered = ", ".join(f"{_quoted(name)} {sorting[way]} nulls last" for name, way in order)
    limit = f" limit {most}" if most is not None else ""
    return f"select {selected} from rows where true{conditions}{f' order by {ordered}' if ordered else ''}{limit}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return f"timestamp '{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"({', '.join(map(_literal, value))})" if isinstance(value, list | tuple) else str(value)


def patiently(question: Callable[[], _T]) -> _T:
    """Return the answer to a question about a table; damaged or missing answers are asked for again."""
    for tried in range(_TRIES - 1):
        try:
            return question()
        except (ConfigError, TableNotFoundError, StoreUnavailable, Stopped):  # which was waited for already
            raise
        except Exception:  # deltalake raises nothing more particular where it reads damaged bytes, and a log may name wrong files
            time.sleep(_PAUSE_S * 2**tried)
    return question()
