"""What becomes of a manifest's columns: kept, kept in another type with a note, or refused before anything runs.

The results table is Delta's: it has no unsigned numbers, no times of day and no durations, its timestamps count microseconds, and
two of its columns may not differ in case alone. So rows are cast as they are read, and nothing behind the manifest ever sees
a type that the table cannot hold. Which type becomes which depends on the type alone and loses no value, except that what is
finer than a microsecond is cut off. Values are looked at only where a type holds more than its counterpart does.

Source of the types: Delta's protocol, "Primitive Types"; `deltalake` was asked for each what it reads back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from repaint_batch.errors import ManifestError
from repaint_batch.schema import RESULTS, passthrough

_INT64_MOST = 2**63 - 1
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # years 1 to 9999, in days since 1970
_DAY_US = 86_400_000_000
_MOST_DIGITS = 38
_NAMED = 3

_EXACT = {
    pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.date32(),
    pa.timestamp("us"), pa.timestamp("us", "UTC"),
}  # fmt: skip
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),  # no signed type holds them all
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
}
_SAME_VALUES = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
"""Types that only lay the same values out in another way; of these nothing need be said."""
_DECODED = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


class _Unstorable(Exception):
    """Why a type cannot be held, and what to do."""


@dataclass(frozen=True)
class Stored:
    """A manifest's columns as everything behind the manifest sees them.

    Attributes:
        schema: without metadata; every column, at every depth, may be null.
        notes: what is not quite as it was, one line a column.
    """

    schema: pa.Schema
    notes: tuple[str, ...]


def stored(schema: pa.Schema, uri: str) -> Stored:
    """Return what becomes of the columns of a manifest.

    Args:
        schema: as Parquet has it.
        uri: names the manifest in errors.

    Raises:
        ManifestError: columns cannot be kept; it names each with its type, and what to do.
    """
    own = {field.name for field in passthrough(schema)}
    fields, notes, refused = [], [], []
    for field in schema:
        if field.name not in own:
            fields.append(pa.field(field.name, _as_read(field)))
            continue
        try:
            _check_name(field.name, own)
            kind, changes = _storable(field.type)
        except _Unstorable as error:
            refused.append(f"column {field.name!r} ({field.type}) {error}")
            continue
        fields.append(pa.field(field.name, kind))
        if changes:
            notes.append(f"column {field.name!r} ({field.type}) is kept as {kind}: {'; '.join(dict.fromkeys(changes))}")
    if refused:
        more = f" (and {len(refused) - _NAMED} more)" if len(refused) > _NAMED else ""
        raise ManifestError(f"{uri}: {'; '.join(refused[:_NAMED])}{more}")
    return Stored(pa.schema(fields), tuple(notes))


def as_stored(rows: pa.Table, uri: str) -> pa.Table:
    """Return rows of a manifest with the columns that `stored` says.

    Args:
        rows: as Parquet has them.
        uri: names the manifest in errors.

    Raises:
        ManifestError: a value is none that the table can hold; it names the column and what to do.
    """
    schema = stored(rows.schema, uri).schema
    columns = []
    for field in schema:
        try:
            columns.append(pa.chunked_array([_cast(chunk, field.type) for chunk in rows[field.name].chunks], field.type))
        except _Unstorable as error:
            raise ManifestError(f"{uri}: column {field.name!r} {error}") from error
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            if field.name == "seed":
                raise ManifestError(
                    f"{uri}: column 'seed' holds numbers beyond {_INT64_MOST} (2^63 - 1); take their remainder by 2^63"
                ) from error
            raise ManifestError(f"{uri}: column {field.name!r} ({rows[field.name].type}) as {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text, bytes or structs without dictionaries, run ends, extensions and views."""
    kind = _as_read(pa.field("image", column.type))
    return pa.chunked_array([_cast(chunk, kind) for chunk in column.chunks], kind)


def to_look_at(schema: pa.Schema) -> list[str]:
    """Return the columns of a manifest whose values may turn out to be none that the table can hold.

    What holds bytes, and so may be pictures, is none of them: all of it would have to be read.
    """
    own = {field.name for field in passthrough(schema)}
    seed = [field.name for field in schema if field.name == "seed" and field.type == pa.uint64()]
    uris = [name for name in ("image", "mask") if name in schema.names and not pa.types.is_struct(schema.field(name).type)]
    leaves = {field.name: list(_leaf_types(field.type)) for field in schema if field.name in own}
    risky = [name for name, kinds in leaves.items() if any(map(_is_risky, kinds)) and not any(map(_is_bytes, kinds))]
    return [*seed, *uris, *risky]


def _as_read(field: pa.Field) -> pa.DataType:
    """Return the type of one of a manifest's own four columns."""
    if field.name == "seed" and pa.types.is_integer(field.type):
        return pa.int64()
    kind = _plain(field.type)
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    while isinstance(kind, pa.DictionaryType | pa.RunEndEncodedType | pa.BaseExtensionType):
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
    return kind


def _check_name(name: str, own: Iterable[str]) -> None:
    folded = name.lower()
    ours = next((known for known in RESULTS.names if known.lower() == folded), None)
    if ours is not None:
        raise _Unstorable(f"would collide with the results' own {ours}; rename it")
    if folded.startswith("__index_level_"):
        raise _Unstorable("is pandas' index; write the manifest with index=False, or rename it")
    if name.startswith("__"):
        raise _Unstorable("would collide with what jobs use themselves, names that begin with '__'; rename it")
    if "`" in name or "\0" in name:
        raise _Unstorable("has a character in its name that the table's engine cannot quote (` or NUL); rename it")
    twin = next((other for other in own if other != name and other.lower() == folded), None)
    if twin is not None:
        raise _Unstorable(f"differs from {twin!r} in case alone, which the table does not tell apart; rename one")


def _storable(kind: pa.DataType, *, in_map: bool = False) -> tuple[pa.DataType, list[str]]:
    """Return the type that a column of type `kind` is kept in, and what changes."""
    if kind in _EXACT:
        if in_map and pa.types.is_timestamp(kind) and kind.tz is None:
            raise _Unstorable("has times without a zone in a map, which the table does not take; give them a zone, or use a list")
        return kind, []
    if kind in _SAME_VALUES:
        return _SAME_VALUES[kind], []
    if kind in _WIDER:
        return _WIDER[kind], [f"the table has no {kind}"]
    if kind in _DECODED:
        return _DECODED[kind], [f"{kind} decoded"]
    for has_kind, become in _FAMILIES:
        if has_kind(kind):
            found: tuple[pa.DataType, list[str]] = become(kind, in_map)
            return found
    raise _Unstorable(f"cannot be held by the table, which has no {kind}; write it as text or numbers, or leave it out")


def _encoded(kind: pa.DataType, in_map: bool) -> tuple[pa.DataType, list[str]]:
    inner, changes = _storable(_plain(kind), in_map=in_map)
    what = {pa.DictionaryType: "dictionary", pa.RunEndEncodedType: "run ends"}
    name = next((name for known, name in what.items() if isinstance(kind, known)), str(kind))
    return inner, [f"{name} decoded", *changes]


def _timestamp(kind: pa.TimestampType, in_map: bool) -> tuple[pa.DataType, list[str]]:
    changes = ["nanoseconds are cut off at microseconds"] if kind.unit == "ns" else []
    changes += [f"the same moments, told in UTC and not in {kind.tz}"] if kind.tz not in (None, "UTC") else []
    inner, _ = _storable(pa.timestamp("us", "UTC" if kind.tz is not None else None), in_map=in_map)
    return inner, changes or [f"the table has no {kind}"]


def _time(kind: pa.DataType, _: bool) -> tuple[pa.DataType, list[str]]:
    return pa.string(), ["times of day as text, HH:MM:SS and what the unit gives"]


def _duration(kind: pa.DurationType, _: bool) -> tuple[pa.DataType, list[str]]:
    return pa.int64(), [f"durations as whole numbers of {kind.unit}"]


def _decimal(kind: pa.DataType, _: bool) -> tuple[pa.DataType, list[str]]:
    if kind.precision > _MOST_DIGITS or not 0 <= kind.scale <= kind.precision:
        raise _Unstorable(f"has more digits than the table holds; write decimal128 of at most {_MOST_DIGITS} digits, or text")
    inner = pa.decimal128(kind.precision, kind.scale)
    return inner, [] if kind == inner else [f"the table has no {kind}"]


def _fixed_binary(kind: pa.DataType, _: bool) -> tuple[pa.DataType, list[str]]:
    return pa.binary(), []


def _list(kind: pa.DataType, in_map: bool) -> tuple[pa.DataType, list[str]]:
    inner, changes = _storable(kind.value_type, in_map=in_map)
    is_view = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return pa.list_(inner), [*(["list view decoded"] if is_view else []), *changes]


def _map(kind: pa.MapType, _: bool) -> tuple[pa.DataType, list[str]]:
    key, key_changes = _storable(kind.key_type, in_map=True)
    item, item_changes = _storable(kind.item_type, in_map=True)
    return pa.map_(key, item), key_changes + item_changes


def _struct(kind: pa.StructType, in_map: bool) -> tuple[pa.DataType, list[str]]:
    names = [field.name for field in kind]
    if not names:
        raise _Unstorable("has a struct without fields, which Parquet cannot hold; leave it out")
    if len({name.lower() for name in names}) < len(names):
        raise _Unstorable("has a struct with two fields that differ in case alone, or not at all; rename one")
    if any("\0" in name for name in names):
        raise _Unstorable("has a struct with NUL in the name of a field; rename it")
    inner = [(field.name, *_storable(field.type, in_map=in_map)) for field in kind]
    return pa.struct([(name, become) for name, become, _ in inner]), [change for _, _, changes in inner for change in changes]


def _is_encoded(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.DictionaryType | pa.RunEndEncodedType | pa.BaseExtensionType)


def _is_list(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view, pa.types.is_large_list_view,
    )  # fmt: skip
    return any(test(kind) for test in tests)


_FAMILIES: list[tuple[Any, Any]] = [
    (_is_encoded, _encoded),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_time, _time),
    (pa.types.is_duration, _duration),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_fixed_size_binary, _fixed_binary),
    (pa.types.is_map, _map),
    (_is_list, _list),
    (pa.types.is_struct, _struct),
]


def _leaf_types(kind: pa.DataType) -> Iterator[pa.DataType]:
    kind = _plain(kind)
    if not kind.num_fields:
        yield kind
    for at in range(kind.num_fields):
        yield from _leaf_types(kind.field(at).type)


def _is_bytes(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def _is_risky(kind: pa.DataType) -> bool:
    """Return whether values of a type may be none of its counterpart: text that is no UTF-8, days and times without a year."""
    text = (pa.string(), pa.large_string(), pa.string_view())
    return kind in text or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_decimal256(kind)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return `array` as `kind`, which is what `_storable` says of its type."""
    source = array.type
    if source == kind and not any(map(_is_risky, _leaf_types(kind))):
        return array
    if isinstance(source, pa.BaseExtensionType):
        return _cast(array.storage, kind)
    if isinstance(source, pa.DictionaryType):
        return _cast(array.dictionary_decode(), kind)
    if isinstance(source, pa.RunEndEncodedType):
        return _cast(pc.run_end_decode(array), kind)
    if pa.types.is_struct(kind):
        inner = [_cast(pc.struct_field(array, at), kind.field(at).type) for at in range(kind.num_fields)]
        return pa.StructArray.from_arrays(inner, fields=list(kind), mask=array.is_null())
    if pa.types.is_map(kind):
        return _cast_map(array, kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _cast_list(array, kind)
    done = array.cast(options=pc.CastOptions(kind, allow_time_truncate=True))
    _check_values(done, kind)
    return done


def _cast_list(array: pa.Array, kind: pa.DataType) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    values = _cast(pc.list_flatten(array), kind.value_type)
    return _nested(pa.ListArray, lengths, array, kind, values)


def _cast_map(array: pa.MapArray, kind: pa.MapType) -> pa.Array:
    entries = array.cast(pa.list_(pa.struct([pa.field("key", array.type.key_type), pa.field("value", array.type.item_type)])))
    lengths, flat = pc.fill_null(pc.list_value_length(entries), 0), pc.list_flatten(entries)
    keys, items = _cast(pc.struct_field(flat, 0), kind.key_type), _cast(pc.struct_field(flat, 1), kind.item_type)
    return _nested(pa.MapArray, lengths, array, kind, keys, items)


def _nested(maker: Any, lengths: pa.Array, array: pa.Array, kind: pa.DataType, *values: pa.Array) -> pa.Array:
    ends = pc.cumulative_sum(lengths.cast(pa.int64()))
    starts = pa.concat_arrays([pa.array([0], pa.int64()), ends]).cast(pa.int32())
    # A null's place is marked by a null offset.
    nulls = pa.concat_arrays([array.is_null(), pa.array([False])])
    return maker.from_arrays(pc.if_else(nulls, pa.scalar(None, pa.int32()), starts), *values, type=kind)


def _check_values(array: pa.Array, kind: pa.DataType) -> None:
    if pa.types.is_date32(kind) or pa.types.is_timestamp(kind):
        unit = 1 if pa.types.is_date32(kind) else _DAY_US
        counts = array.view(pa.int32() if unit == 1 else pa.int64())
        ends = pc.min_max(counts)
        least, most = ends["min"].as_py(), ends["max"].as_py()
        if least is not None and (least < _FIRST_DAY * unit or most >= (_LAST_DAY + 1) * unit):
            raise _Unstorable(f"({kind}) has times outside the years 1 to 9999; write them as text, or as null")
    elif kind in (pa.string(), pa.large_string()):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise _Unstorable(f"has text that is not UTF-8; write it as UTF-8, or as binary ({error})") from error
