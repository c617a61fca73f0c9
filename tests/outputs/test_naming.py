"""Pictures outside the table: safe names that mirror their sources, and tars whose members are found again."""

import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.errors import SourceMissing, UriRefused
from repaint_batch.outputs.naming import file_uri, name_of, read_output, write_tar
from repaint_batch.uris import join

from ..conftest import Place


@settings(max_examples=300)
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "", "a", "%", "\\", "a.png"])).map("/".join))
def test_names_are_relative_paths(text: str) -> None:
    name = name_of(text, "PNG")
    segments = name.split("/")
    assert not {"", ".", ".."} & set(segments)
    assert not set(name) & {"\\", "\0", ":"}
    assert name.lower().endswith(".png")
    assert all(len(segment.encode()) <= 255 for segment in segments)


@pytest.mark.parametrize(
    ("image_uri", "name"),
    [
        ("2019/party/a.png", "2019/party/a~key-7.png"),
        ("s3://corpus/pictures/2019/a.jpeg", "2019/a.jpeg~key-7.png"),
        ("s3://other/b.png", "other/b~key-7.png"),
        ("/scans/c.PNG", "scans/c~key-7.PNG"),
        ("file:///scans/c.tif", "scans/c.tif~key-7.png"),
        ("../up/d.png", "%2E%2E/up/d~key-7.png"),
        (None, "id/of it~key-7.png"),
    ],
)
def test_files_mirror_their_sources(image_uri: str | None, name: str) -> None:
    row = {"sample_id": "id/of it", "image_uri": image_uri, "output_format": "PNG", "attempt": "key", "row": 7}
    assert file_uri("/out", row, "s3://corpus/pictures") == f"/out/images/{name}"


def test_attempts_and_rows_of_one_source_have_files_of_their_own() -> None:
    row = {"sample_id": "a", "image_uri": "a.png", "output_format": "PNG", "work_key": "the same"}
    uris = {file_uri("/out", {**row, "attempt": attempt, "row": number}, "/in") for attempt in "xy" for number in (1, 2)}
    assert len(uris) == 4


@given(st.text(min_size=1, max_size=400), st.text(max_size=400))
def test_files_stay_below_the_output_in_keys_that_s3_takes(sample_id: str, path: str) -> None:
    row = {"sample_id": sample_id, "image_uri": path * 3, "output_format": "JPEG", "attempt": "0123456789ab", "row": 10**9}
    uri = file_uri("/out", row, "/corpus")
    assert uri.startswith("/out/images/")
    assert not {"", ".", ".."} & set(uri.removeprefix("/out/images/").split("/"))
    assert len(uri.encode()) < 800


def test_every_picture_of_a_tar_is_found_again(place: Place) -> None:
    pictures = [b"", b"x" * 511, b"y" * 512, bytes(range(256)) * 5]
    rows = [
        {"sample_id": f"id.{n}/ü", "shard": 7, "row": 70 + n, "status": "ok", "output": data}
        | {"output_format": "PNG", "output_bytes": len(data)}
        for n, data in enumerate(pictures)
    ]
    write_tar(place.uri, rows, pictures, "attempt", place.storage)
    for row, data in zip(rows, pictures, strict=True):
        assert read_output(row, place.uri, place.storage) == data
    with tarfile.open(fileobj=io.BytesIO(place.storage.read(str(rows[0]["output_uri"])))) as tar:
        assert tar.getnames() == [f"{70 + n:012d}.{suffix}" for n in range(4) for suffix in ("png", "json")]
        facts = json.loads(tar.extractfile(tar.getnames()[3]).read())  # type: ignore[union-attr]
    assert facts["sample_id"] == "id.1/ü"
    assert "output" not in facts


def test_a_row_cannot_name_what_is_not_its_outputs(place: Place) -> None:
    row = {"output": None, "output_uri": join(place.uri, "elsewhere.png"), "output_offset": None, "output_bytes": 3}
    with pytest.raises(UriRefused):
        read_output(row, join(place.uri, "out"), place.storage)
    gone = {**row, "output_uri": join(place.uri, "out", "images", "a.tar"), "output_offset": 512}
    with pytest.raises(SourceMissing):
        read_output(gone, join(place.uri, "out"), place.storage)
