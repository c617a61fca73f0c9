"""Exports hold what the table holds, and no id leads out of the folder."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from repaint_batch.errors import ConfigError, NothingToResume, StorageError
from repaint_batch.outputs import export as module
from repaint_batch.outputs.export import export
from repaint_batch.schema import RESULTS
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import join, normalise

from ..conftest import Place
from ..publishing import plan_of, publish

OWN = pa.field("note", pa.string())


def row(number: int, sample_id: str, data: bytes | None, **values: Any) -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "status": "failed" if data is None else "ok",
        "output": data,
        "output_sha256": data and hashlib.sha256(data).hexdigest(),
        "output_format": data and "PNG",
        "hole_fraction": 0.25,
        "job_id": "x",
        "shard": number,
        "attempt": "a",
        "note": f"note {number}",
        **values,
    }


def output(place: Place, rows: list[dict[str, Any]]) -> str:
    """Commit `rows`, two a shard, to a table at `place`; return the output."""
    uri = join(place.uri, "out")
    table, plan = ResultsTable(uri, place.storage), plan_of(place, rows=len(rows), shard_rows=2)
    table.create([OWN])
    schema = pa.schema([*RESULTS, OWN])
    for shard in range(plan.shards):
        start, stop = plan.shard_range(shard)
        part = [{**values, "job_id": plan.job_id, "shard": shard} for values in rows[start:stop]]
        publish(table, plan, pa.Table.from_pylist(part, schema=schema), shard)
    return uri


def kept(place: Place) -> list[dict[str, Any]]:
    """Rows of every kind: inside the table, in a file, skipped, failed."""
    place.storage.write(join(place.uri, "out", "images", "x.png"), b"in a file")
    return [
        row(0, "a.png", b"first", image_uri="photos/2024/a.png"),
        row(1, "folder/b.jpg", b"second", image_uri="s3://bucket/raw/b.jpg"),
        row(2, "broken", None),
        row(3, "filed", b"in a file", output=None, output_uri=join(normalise(place.uri), "out", "images", "x.png")),
        row(4, "unchanged", b"skipped", status="skipped", reason="no hole"),
    ]


def files(place: Place, folder: str) -> dict[str, bytes]:
    root = normalise(join(place.uri, folder))
    return {uri.removeprefix(f"{root}/"): place.storage.read(uri) for uri, _ in place.storage.list(root)}


def test_a_folder_mirrors_ids_or_sources(place: Place) -> None:
    made = output(place, kept(place))
    done = export(made, join(place.uri, "ids"), place.storage)
    assert (done.pictures, done.bytes, done.left_out, done.objects) == (4, 27, 1, 4)
    assert files(place, "ids") == {
        "a.png": b"first",
        "folder/b.jpg.png": b"second",
        "filed.png": b"in a file",
        "unchanged.png": b"skipped",
    }
    export(made, join(place.uri, "sources"), place.storage, names="source")
    assert set(files(place, "sources")) == {"photos/2024/a.png", "bucket/raw/b.jpg.png", "filed.png", "unchanged.png"}
    with pytest.raises(ConfigError, match="is not empty; choose another --to"):
        export(made, join(place.uri, "ids"), place.storage)


def test_parquet_as_hugging_face_reads_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD_BYTES", 12)
    done = export(output(place, kept(place)), join(place.uri, "set"), place.storage, format="parquet")
    found = files(place, "set")
    assert len(found) == done.objects > 1
    assert list(found) == [f"data/train-{number:05d}.parquet" for number in range(len(found))]
    table = pa.concat_tables([pq.read_table(io.BytesIO(data)) for data in found.values()])
    rows = {values["sample_id"]: values for values in table.to_pylist()}
    assert {name: values["image"]["bytes"] for name, values in rows.items()} == {
        "a.png": b"first",
        "folder/b.jpg": b"second",
        "filed": b"in a file",
        "unchanged": b"skipped",
    }
    assert rows["unchanged"]["note"] == "note 4"
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["hole_fraction"] == {"dtype": "float64", "_type": "Value"}
    assert set(features) == set(table.column_names)


def test_webdataset_shards(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHARD_BYTES", 12)
    done = export(output(place, kept(place)), join(place.uri, "shards"), place.storage, format="webdataset")
    found, pictures = files(place, "shards"), {}
    assert len(found) == done.objects > 1
    for data in found.values():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
        for name in members:
            if name.endswith(".json"):
                facts = json.loads(members[name])
                pictures[facts["sample_id"]] = members[name.replace(".json", ".png")]
                assert facts["note"].startswith("note")
                assert "output" not in facts
    assert pictures == {"a.png": b"first", "folder/b.jpg": b"second", "filed": b"in a file", "unchanged": b"skipped"}


def test_ids_cannot_leave_the_folder_or_collide(local_place: Place) -> None:
    ids = ["../../escape", "/etc/x", "a", "a.png", "A.png", "..", "c\\..\\d", "n\0l", "x" * 900, "x" * 901, "", "a%2Fb"]
    made = output(local_place, [row(n, sample_id, b"%d" % n) for n, sample_id in enumerate(ids)])
    before = set(Path(local_place.uri).rglob("*"))
    export(made, join(local_place.uri, "deep", "down", "export"), local_place.storage)
    target = Path(local_place.uri, "deep", "down", "export")
    created = {path for path in Path(local_place.uri).rglob("*") if path.is_file()} - before
    assert all(path.resolve().is_relative_to(target) for path in created)
    assert sorted(path.read_bytes() for path in created) == sorted(b"%d" % n for n in range(len(ids)))


def test_ids_that_begin_other_ids_are_all_written(place: Place) -> None:
    ids = ["a.png", "a.png/b.png", "a.png/b.png/c", "x/y.png/z", "x/y.png", "a.png~/b.png", "A.PNG/d"]
    for order in (ids, ids[::-1]):
        folder = f"by-{order[0].replace('/', '-')}"
        made = output(Place(join(place.uri, folder), place.config), [row(n, name, name.encode()) for n, name in enumerate(order)])
        export(made, join(place.uri, folder, "export"), place.storage)
        assert sorted(files(place, join(folder, "export")).values()) == sorted(name.encode() for name in ids)


def test_a_changed_picture_is_not_passed_on(local_place: Place) -> None:
    made = output(local_place, kept(local_place))
    local_place.storage.write(join(local_place.uri, "out", "images", "x.png"), b"tampered with")
    with pytest.raises(StorageError, match=r"filed: the picture in .*x.png is not what was committed"):
        export(made, join(local_place.uri, "ids"), local_place.storage)


def test_an_output_without_a_table(local_place: Place) -> None:
    with pytest.raises(NothingToResume, match="there are no results"):
        export(join(local_place.uri, "nothing"), join(local_place.uri, "ids"), local_place.storage)
