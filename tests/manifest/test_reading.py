"""Manifests: what is refused, and that any range of rows is read as it stands."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.errors import ManifestError
from repaint_batch.manifest import absolute_uri, image_bytes_or_uri, open_manifest, read_rows
from repaint_batch.schema import IMAGE_STRUCT
from repaint_batch.storage import Storage
from repaint_batch.uris import join

from ..conftest import Place


def parquet(columns: dict[str, Any], row_group_size: int = 3) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, row_group_size=row_group_size)
    return buffer.getvalue()


def columns(count: int, first: int = 0) -> dict[str, Any]:
    numbers = range(first, first + count)
    return {
        "sample_id": [f"id-{n}" for n in numbers],
        "image": [f"pictures/{n}.png" for n in numbers],
        "mask": [f"masks/{n}.png" for n in numbers],
        "size": list(numbers),
    }


def test_one_file_and_many_are_read_alike(place: Place) -> None:
    place.storage.write(join(place.uri, "one.parquet"), parquet(columns(10)))
    place.storage.write(join(place.uri, "many", "b.parquet"), parquet(columns(6, 4)))
    place.storage.write(join(place.uri, "many", "a.parquet"), parquet(columns(4)))
    one = open_manifest(join(place.uri, "one.parquet"), place.storage)
    many = open_manifest(join(place.uri, "many"), place.storage)
    assert one.rows == many.rows == 10
    assert one.base == place.uri
    assert many.base == join(place.uri, "many")
    for start, stop in ((0, 10), (2, 5), (3, 9), (9, 10)):
        expected = pa.table(columns(10)).slice(start, stop - start)
        assert read_rows(one.files, start, stop, place.storage).equals(expected)
        assert read_rows(many.files, start, stop, place.storage).equals(expected)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    group=st.integers(1, 7),
    ends=st.tuples(st.integers(0, 48), st.integers(0, 48)),
)
def test_every_range_is_what_it_is(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], group: int, ends: tuple[int, int]
) -> None:
    folder, storage, total = tmp_path_factory.mktemp("manifest"), Storage(), 0
    for number, size in enumerate(sizes):
        storage.write(str(folder / f"{number}.parquet"), parquet(columns(size, total), group))
        total += size
    start, stop = sorted(end % (total + 1) for end in ends)
    if start == stop:
        stop = start + 1 if start < total else start
        start = stop - 1
    manifest = open_manifest(str(folder), storage)
    assert read_rows(manifest.files, start, stop, storage)["size"].to_pylist() == list(range(start, stop))


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in columns(3).items() if key != name}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (without("mask"), "missing column mask; it has sample_id, image, size"),
        ({**columns(3), "sample_id": ["a", "b", "a"]}, r"1 appear more than once: 'a'"),
        ({**columns(3), "sample_id": ["a", None, "c"]}, r"sample_id is null in 1 rows, such as \[1\]"),
        ({**columns(3), "sample_id": ["a", "", "c"]}, r"sample_id is empty in 1 rows; give every row an id"),
        ({**columns(3), "sample_id": [1.0, 2.0, 3.0]}, "sample_id is double; it must be a string or an integer"),
        ({**columns(3), "image": [1, 2, 3]}, "image is int64; it must be a URI string or a struct"),
        ({**columns(3), "seed": ["a", "b", "c"]}, "seed is string; it must be an integer"),
        ({**columns(3), "status": ["a", "b", "c"]}, r"column 'status' \(string\) would collide with the results' own status"),
        ({**columns(3), "__image": ["a", "b", "c"]}, "column '__image'"),
        (columns(0), "no rows"),
    ],
)
def test_bad_manifests_are_refused(tmp_path: Path, table: dict[str, Any], says: str) -> None:
    path = tmp_path / "manifest.parquet"
    if not table["sample_id"]:
        pq.write_table(pa.table(table).cast(pa.table(columns(1)).schema), path)
    else:
        path.write_bytes(parquet(table))
    with pytest.raises(ManifestError, match=says):
        open_manifest(str(path), Storage())


def test_missing_broken_and_unlike_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent.parquet: no Parquet manifest there"):
        open_manifest(str(tmp_path / "absent.parquet"), Storage())
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    with pytest.raises(ManifestError, match="cannot be read as Parquet"):
        open_manifest(str(tmp_path / "broken.parquet"), Storage())
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.parquet").write_bytes(parquet(columns(3)))
    (tmp_path / "two" / "b.parquet").write_bytes(parquet(without("size") | {"sample_id": ["x", "y", "z"]}))
    with pytest.raises(ManifestError, match=r"b.parquet: its columns differ from those of .*a.parquet"):
        open_manifest(str(tmp_path / "two"), Storage())


def test_a_file_that_changes_after_planning_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    path.write_bytes(parquet(columns(9)))
    manifest = open_manifest(str(path), Storage())
    path.write_bytes(parquet({**columns(9), "image": [f"other/{n}.png" for n in range(9)]}))
    with pytest.raises(ManifestError, match="has changed since the job was planned"):
        read_rows(manifest.files, 0, 3, Storage())
    assert open_manifest(str(path), Storage()).fingerprint != manifest.fingerprint


def test_values_of_the_image_columns() -> None:
    assert image_bytes_or_uri("a.png") == (None, "a.png")
    assert image_bytes_or_uri({"bytes": b"x", "path": "a.png"}) == (b"x", None)
    assert image_bytes_or_uri({"bytes": None, "path": "a.png"}) == (None, "a.png")
    assert image_bytes_or_uri(None) == (None, None)
    assert absolute_uri("a.png", "s3://bucket/folder") == "s3://bucket/folder/a.png"
    assert absolute_uri("s3://other/a.png", "s3://bucket/folder") == "s3://other/a.png"
    assert absolute_uri({"bytes": None, "path": "a"}, "/base") == {"bytes": None, "path": "/base/a"}
    assert pa.types.is_struct(IMAGE_STRUCT)
