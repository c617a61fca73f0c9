"""Own columns: whatever Parquet can hold ends in a table that deltalake reads back, or is refused before anything runs."""

import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from repaint_batch.errors import ManifestError
from repaint_batch.manifest import open_manifest, read_rows
from repaint_batch.manifest.columns import to_look_at
from repaint_batch.schema import RESULTS, passthrough
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..publishing import plan_of, publish

ROWS = 3
NAMES = [
    "note",
    "a b",
    "a.b",
    "a`b",
    'a"b',
    "a'b",
    "é",
    "",
    "select",
    "t",
    "s.x",
    "*",
    "Status",
    "SEED",
    "Image",
    "__x",
    "a\nb",
    "a,b",
]


def ints(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def digits(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**precision) + 1, 10**precision - 1).map(
        lambda number: Decimal((number < 0, tuple(int(digit) for digit in str(abs(number))), -scale))
    )


TIMES = {"s": 10**6, "ms": 10**3, "us": 1}
AROUND_NOW = st.integers(-(2**62), 2**62)  # of any unit: some lie outside the years 1 to 9999
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"int{bits}")(), ints(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{bits}")(), ints(bits, signed=False)) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"float{bits}")(), st.floats(width=bits)) for bits in (16, 32, 64)),
    (pa.decimal32(5, 2), digits(5, 2)),
    (pa.decimal64(12, 0), digits(12, 0)),
    (pa.decimal128(38, 38), digits(38, 38)),
    (pa.decimal256(38, 5), digits(38, 5)),
    (pa.decimal256(50, 5), digits(50, 5)),
    *((kind, TEXT) for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))),
    *((kind, st.binary(max_size=4)) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
    (pa.date32(), st.dates() | st.just(3_000_000)),
    (pa.date64(), st.dates()),
    *((pa.time32(unit), st.times().map(lambda time: time.replace(microsecond=0))) for unit in ("s", "ms")),
    *((pa.time64(unit), st.times()) for unit in ("us", "ns")),
    *((pa.timestamp(unit, zone), AROUND_NOW) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "Europe/Berlin")),
    *((pa.timestamp("us", zone), st.integers(-(2**55), 2**57)) for zone in (None, "UTC", "Asia/Kathmandu")),
    *((pa.duration(unit), AROUND_NOW) for unit in ("s", "ms", "us", "ns")),
]
NO_UTF8 = pa.StringArray.from_buffers(ROWS, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffb"))
SAME_VALUES = (pa.large_string(), pa.large_binary(), pa.binary(3))
"""Types whose values are kept in another layout, of which nothing is said."""
Kind = tuple[pa.DataType, st.SearchStrategy[Any]]


def nested(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    def lists(kind: Kind) -> st.SearchStrategy[Kind]:
        values = st.lists(st.none() | kind[1], max_size=3)
        fixed = (pa.list_(kind[0], 2), st.lists(kind[1], min_size=2, max_size=2))
        return st.sampled_from([(pa.list_(kind[0]), values), (pa.large_list(kind[0]), values), fixed])

    def struct(kinds: dict[str, Kind]) -> Kind:
        fields = [(name, kind) for name, (kind, _) in kinds.items()]
        return pa.struct(fields), st.fixed_dictionaries({name: st.none() | values for name, (_, values) in kinds.items()})

    def mapped(kind: Kind) -> Kind:
        pairs = st.dictionaries(TEXT, st.none() | kind[1], max_size=3)
        return pa.map_(pa.string(), kind[0]), pairs.map(lambda found: list(found.items()))

    names = st.sampled_from(["a", "A", "b.c", "a`b", "é"])
    return inner.flatmap(lists) | st.dictionaries(names, inner, max_size=3).map(struct) | inner.map(mapped)


KINDS = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=3)


def same(was: Any, now: Any, kind: pa.DataType) -> bool:
    """Return whether a value of type `kind` was kept, up to what is finer than a microsecond."""
    if was is None or now is None:
        return was is None and now is None
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return all(same(was[field.name], now[field.name], field.type) for field in kind)
    if pa.types.is_map(kind):
        pairs = zip(was, now, strict=True)
        return all(a[0] == b[0] and same(a[1], b[1], kind.item_type) for a, b in pairs)
    if pa.types.is_nested(kind):
        return len(was) == len(now) and all(same(a, b, kind.value_type) for a, b in zip(was, now, strict=True))
    if pa.types.is_timestamp(kind):
        then, later = pd.Timestamp(was), pd.Timestamp(now)
        return (then.tzinfo is None) == (later.tzinfo is None) and abs(then - later) < pd.Timedelta(1, "us")
    if pa.types.is_time(kind):
        whole = pa.scalar(was, kind).cast(pa.string()).as_py()
        return bool(now == whole)
    if pa.types.is_duration(kind):
        return bool(pa.scalar(now, pa.int64()).cast(kind).as_py() == was)
    if isinstance(was, uuid.UUID):
        return bool(was.bytes == now)
    return bool(was == now) or (was != was and now != now)


def manifest_of(folder: Path, columns: dict[str, pa.Array]) -> str:
    ids = {"sample_id": ["x", "y", "z"], "image": ["a.png"] * ROWS, "mask": ["m.png"] * ROWS}
    path = folder / "manifest.parquet"
    pq.write_table(pa.table({**ids, **columns}), path)
    return str(path)


def committed(folder: Path, manifest: str) -> tuple[pa.Table, pa.Table]:
    """Return the rows of a manifest as they are read, and its columns as deltalake reads them once they are committed twice."""
    opened = open_manifest(manifest, Storage())
    rows = read_rows(opened.files, 0, opened.rows, Storage())
    assert rows.schema.equals(opened.schema), "what is told before a run is what is read in it"
    own = passthrough(opened.schema)
    place = Place(str(folder), Storage().config)
    table = ResultsTable(str(folder / "out"), Storage())
    table.create(own)
    schema = pa.schema([*RESULTS, *own])
    for mode in ("append", "upsert"):
        plan = replace(plan_of(place, rows=ROWS, shard_rows=ROWS), mode=mode, job_id=mode)
        values = [{**row, "status": "ok", "job_id": plan.job_id, "shard": 0, "attempt": mode} for row in rows.to_pylist()]
        assert publish(table, plan, pa.Table.from_pylist(values, schema=schema))
        found = list(table.rows())
        assert [row["attempt"] for row in found] == [mode] * ROWS
    read = DeltaTable(str(folder / "out" / "results")).to_pyarrow_table().sort_by("sample_id")
    names = [field.name for field in own]
    assert repr([[row[name] for name in names] for row in found]) == repr(
        [[row[name] for name in names] for row in read.to_pylist()]
    )
    return rows, read.select(names)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_column_is_read_back_by_deltalake_or_refused_before(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("columns")
    names = data.draw(st.lists(st.sampled_from(NAMES) | TEXT, min_size=1, max_size=2, unique=True))
    assume(not {"sample_id", "image", "mask", "seed"} & set(names))
    columns = {}
    for name in names:
        kind, values = data.draw(KINDS)
        drawn = data.draw(st.lists(st.none() | values, min_size=ROWS, max_size=ROWS))
        try:
            columns[name] = pa.array(drawn, kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError, NotImplementedError):
            assume(False)
    try:
        manifest = manifest_of(folder, columns)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        event("no Parquet can hold it")
        assume(False)
    source = pq.read_table(manifest)
    try:
        opened = open_manifest(manifest, Storage())
    except ManifestError as error:
        refused = str(error)
    else:
        refused = ""
    event("refused" if refused else "kept")
    if refused:
        assert any(repr(name) in refused for name in names), refused
        return
    rows, read = committed(folder, manifest)
    assert opened.schema.equals(rows.schema)
    for name in names:
        was, now = source[name].to_pylist(), read[name].to_pylist()
        assert all(same(a, b, source[name].type) for a, b in zip(was, now, strict=True)), (source[name].type, was, now)
        kind = source[name].type
        if not pa.types.is_nested(kind) and kind != rows[name].type and kind not in SAME_VALUES:
            assert any(repr(name) in note for note in opened.notes), (kind, opened.notes)


def test_columns_that_cannot_be_kept_are_all_named_with_what_to_do(tmp_path: Path) -> None:
    columns = {
        "Status": pa.array(["a"] * ROWS),
        "__index_level_0__": pa.array(range(ROWS)),
        "tick`": pa.array(range(ROWS)),
        "money": pa.array([None] * ROWS, pa.decimal256(50, 2)),
    }
    with pytest.raises(ManifestError) as caught:
        open_manifest(manifest_of(tmp_path, columns), Storage())
    said = str(caught.value)
    assert "column 'Status' (string) would collide with the results' own status; rename it" in said
    assert "column '__index_level_0__' (int64) is pandas' index; write the manifest with index=False" in said
    assert "column 'tick`' (int64) has a character in its name that the table's engine cannot quote" in said
    assert "(and 1 more)" in said


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("taken", pa.array([0, None, 10**17], pa.timestamp("ms")), r"column 'taken' .*timestamp"),
        ("taken", pa.array([0, None, 2**62], pa.timestamp("us")), r"column 'taken' .* outside the years 1 to 9999"),
        ("day", pa.array([[3_000_000], None, []], pa.list_(pa.date32())), r"column 'day' .* outside the years 1 to 9999"),
        ("Note", pa.array(["a"] * ROWS), r"column 'Note' \(string\) differs from 'note' in case alone"),
        ("seed", pa.array([5, None, 2**63], pa.uint64()), r"column 'seed' holds numbers beyond 922337203685477580. \(2\^63"),
        ("text", NO_UTF8, "column 'text' has text that is not UTF-8"),
    ],
)
def test_values_that_the_table_cannot_hold_are_told_before_a_run(tmp_path: Path, name: str, column: pa.Array, says: str) -> None:
    columns = {name: column, "note": pa.array(["n"] * ROWS)}
    with pytest.raises(ManifestError, match=says):
        open_manifest(manifest_of(tmp_path, columns), Storage())


def test_ids_seeds_and_uris_are_read_however_they_are_laid_out(tmp_path: Path) -> None:
    table = pa.table(
        {
            "sample_id": pa.array(["x", "y", "z"]).dictionary_encode(),
            "image": pa.array(["a.png"] * ROWS, pa.string_view()),
            "mask": pa.array(["m.png"] * ROWS).dictionary_encode(),
            "seed": pa.array([2**63 - 1, None, 0], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    opened = open_manifest(str(tmp_path / "m.parquet"), Storage())
    rows = read_rows(opened.files, 0, ROWS, Storage())
    assert rows.schema.equals(opened.schema)
    assert rows.to_pylist()[0] == {"sample_id": "x", "image": "a.png", "mask": "m.png", "seed": 2**63 - 1}


def test_only_what_may_be_wrong_is_read_before_a_run() -> None:
    pictures = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([
        ("sample_id", pa.string()), ("image", pictures), ("mask", pa.string()), ("seed", pa.uint64()),
        ("second", pictures), ("size", pa.int64()), ("score", pa.uint8()), ("words", pa.list_(pa.string())), ("day", pa.date32()),
    ])  # fmt: skip
    assert to_look_at(schema) == ["seed", "mask", "words", "day"]
