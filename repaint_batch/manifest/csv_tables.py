"""CSV as people have it: any of the usual separators, UTF-8 or UTF-16, and columns of which every value decides the type.

A first pass over the file finds for each column the narrowest type that says exactly what all its values say, a second one reads
it. What would read back as something else stays text: 007, 1e400, n/a among numbers.
"""

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from repaint_batch.errors import ManifestError
from repaint_batch.storage import Storage

_HEAD_BYTES = 1 << 16
_SEPARATORS = (",", ";", "\t", "|")
_NUMBER = r"-?(0|[1-9][0-9]*)"
_TYPES: tuple[tuple[pa.DataType, str], ...] = (
    (pa.bool_(), r"^(true|false|True|False|TRUE|FALSE)$"),
    (pa.int64(), r"^(0|-?[1-9][0-9]{0,17})$"),
    (pa.float64(), rf"^{_NUMBER}(\.[0-9]{{1,15}})?([eE][+-]?[0-9]{{1,2}})?$"),
    (pa.date32(), r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    (pa.timestamp("us"), r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?$"),
)
"""Types, each with what its values may look like, in the order in which they are preferred."""
_DIGITS = 17  # of a number, which a double can hold and give back


@dataclass(frozen=True)
class _Dialect:
    encoding: str
    separator: str
    skipped: int  # lines before the headings


def csv_tables(uri: str, headings: Sequence[str], texts: Sequence[str], storage: Storage) -> Iterator[pa.Table]:
    """Yield the rows of a CSV file with headings.

    Args:
        uri: the file.
        headings: names that its headings should have; the separator that finds them is taken.
        texts: names of columns that are text, whatever they look like.
        storage: how to reach it.

    Raises:
        ManifestError: it is missing, or no CSV.
    """
    dialect = _dialect(uri, headings, storage)
    try:
        candidates: dict[str, list[tuple[pa.DataType, str]]] = {}
        for batch in _as_text(uri, dialect, storage):
            for name in batch.schema.names:
                known = candidates.setdefault(name, [] if name in texts else list(_TYPES))
                candidates[name] = [each for each in known if _reads_as(batch[name], *each)]
        types = {name: (kinds[0][0] if kinds else pa.string()) for name, kinds in candidates.items()}
        for batch in _as_text(uri, dialect, storage):
            columns = [batch[name].cast(types[name]) for name in batch.schema.names]
            yield pa.Table.from_batches([pa.RecordBatch.from_arrays(columns, names=batch.schema.names)])
    except (pa.ArrowInvalid, UnicodeError) as error:
        advice = "; save it as UTF-8" if "UTF8" in str(error) or isinstance(error, UnicodeError) else ""
        raise ManifestError(f"{uri}: cannot be read as CSV: {error}{advice}") from error


def _dialect(uri: str, headings: Sequence[str], storage: Storage) -> _Dialect:
    filesystem, path = storage.arrow(uri)
    try:
        with filesystem.open_input_stream(path) as stream:
            head = bytes(stream.read(_HEAD_BYTES))
    except FileNotFoundError as error:
        raise ManifestError(f"{uri}: no such file; check --csv") from error
    encoding = _encoding(head)
    lines = head.decode(encoding, errors="replace").lstrip("\ufeff").splitlines() or [""]
    if lines[0].startswith("sep=") and len(lines[0]) == 5:  # as Excel writes it
        return _Dialect(encoding, lines[0][4], 1)
    return _Dialect(encoding, max(_SEPARATORS, key=lambda each: _found(lines[0], each, headings)), 0)


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head[:64]:
        return "utf-16-le" if head[1:2] == b"\0" else "utf-16-be"
    return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"


def _found(line: str, separator: str, headings: Sequence[str]) -> tuple[int, int]:
    names = next(csv.reader([line], delimiter=separator), [])
    return len(set(names) & set(headings)), len(names)


def _as_text(uri: str, dialect: _Dialect, storage: Storage) -> Iterator[pa.RecordBatch]:
    filesystem, path = storage.arrow(uri)
    options: dict[str, Any] = {
        "read_options": pyarrow.csv.ReadOptions(
            encoding="utf-8" if dialect.encoding == "utf-8-sig" else dialect.encoding, skip_rows=dialect.skipped
        ),
        "parse_options": pyarrow.csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
    }
    with pyarrow.csv.open_csv(filesystem.open_input_stream(path), **options) as reader:
        names = reader.schema.names
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
    )
    with pyarrow.csv.open_csv(filesystem.open_input_stream(path), convert_options=convert, **options) as reader:
        yield from reader


def _reads_as(values: pa.Array, kind: pa.DataType, pattern: str) -> bool:
    """Return whether all values are of a type, and none would read back as another."""
    if not pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py():
        return False
    if kind == pa.float64() and (pc.max(pc.utf8_length(values)).as_py() or 0) > _DIGITS:
        return False
    try:
        values.cast(kind)
    except pa.ArrowInvalid:  # the 30th of February
        return False
    return True
