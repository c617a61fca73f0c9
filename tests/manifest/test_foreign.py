"""Tables as Spark, Hive, Hugging Face, COCO and spreadsheets leave them."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.config import ImagesConfig
from repaint_batch.errors import ManifestError
from repaint_batch.images.codec import read_picture
from repaint_batch.images.masks import read_keep_mask
from repaint_batch.manifest import ManifestFile, open_manifest, read_rows
from repaint_batch.manifest.building import Built, Columns, build_from_coco, build_from_csv, build_from_parquet
from repaint_batch.schema import IMAGE_STRUCT
from repaint_batch.storage import Storage
from repaint_batch.uris import join

from ..conftest import Place
from ..corpus import encoded, picture
from .test_building import built_rows


def table(first: int, count: int = 2, **columns: Any) -> pa.Table:
    numbers = range(first, first + count)
    ids = {"sample_id": [f"id-{n}" for n in numbers], "image": [f"{n}.png" for n in numbers], "mask": ["m.png"] * count}
    return pa.table({**ids, **columns})


def put(place: Place, name: str, rows: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    place.storage.write(join(place.uri, name), buffer.getvalue())


def test_a_folder_of_spark_is_a_manifest_without_its_markers(place: Place) -> None:
    folder = "corpus.parquet"  # Spark calls folders so
    put(place, f"{folder}/part-00001-c000.snappy.parquet", table(2))
    put(place, f"{folder}/part-00000-c000.snappy.parquet", table(0))
    put(place, f"{folder}/_temporary/0/attempt/part-00002-c000.snappy.parquet", table(0))
    for name in ("_SUCCESS", ".part-00000-c000.snappy.parquet.crc", "_committed_123"):
        place.storage.write(join(place.uri, folder, name), b"x")
    opened = open_manifest(join(place.uri, folder), place.storage)
    assert opened.base == join(place.uri, folder)
    rows = read_rows(opened.files, 0, opened.rows, place.storage)
    assert rows["sample_id"].to_pylist() == [f"id-{n}" for n in range(4)]
    target = join(place.uri, "m.parquet")
    assert build_from_parquet(join(place.uri, folder), Columns(), target, place.storage).rows == 4


def test_the_folders_of_hive_are_columns(tmp_path: Path) -> None:
    rows = table(0, 6, split=["train", "train", "a b/é", "a b/é", None, None], year=[2020, 2021] * 3)
    folders = ds.partitioning(pa.schema([("split", pa.string())]), flavor="hive")
    ds.write_dataset(rows, tmp_path / "hive", format="parquet", partitioning=folders)
    opened = open_manifest(str(tmp_path / "hive"), Storage())
    again = tuple(ManifestFile(**json.loads(json.dumps(vars(file)))) for file in opened.files)
    for files in (opened.files, again):  # as a plan remembers them
        read = read_rows(files, 0, opened.rows, Storage()).sort_by("sample_id")
        assert read.schema.field("split").type == pa.string()
        assert read.select(rows.column_names).equals(rows)
    assert opened.notes == ("column 'split' is taken from the names of folders, as text",)
    target = str(tmp_path / "m.parquet")
    build_from_parquet(str(tmp_path / "hive"), Columns(), target, Storage())
    assert {row["split"] for row in built_rows(target, Storage())} == {"train", "a b/é", None}
    (tmp_path / "hive" / "split=train").rename(tmp_path / "hive" / "split=test")
    assert open_manifest(str(tmp_path / "hive"), Storage()).fingerprint != opened.fingerprint


def test_files_whose_columns_differ_are_told_which(tmp_path: Path) -> None:
    place = Place(str(tmp_path), Storage().config)
    put(place, "same/a.parquet", table(0, note=["x", "y"]))
    put(place, "same/b.parquet", table(2, note=[None, None]).select(["note", "mask", "image", "sample_id"]))
    opened = open_manifest(join(place.uri, "same"), Storage())
    assert read_rows(opened.files, 0, 4, Storage())["note"].to_pylist() == ["x", "y", None, None]

    put(place, "other/a.parquet", table(0, note=["x", "y"], size=[1, 2]))
    put(place, "other/b.parquet", table(2, note=[1, 2], Größe=[1, 2]))
    says = r"b.parquet: its columns differ from those of .*a.parquet: no 'size', 'Größe' besides, 'note' is int64 and not string"
    with pytest.raises(ManifestError, match=says):
        open_manifest(join(place.uri, "other"), Storage())
    with pytest.raises(ManifestError, match="the sources' columns differ: no 'size', 'Größe' besides"):
        build_from_parquet(join(place.uri, "other"), Columns(), join(place.uri, "m.parquet"), Storage())


@pytest.mark.parametrize(("name", "advice"), [("list.csv", "--csv"), ("set/data-00000-of-00001.arrow", "--parquet")])
def test_what_is_no_manifest_yet_is_told_how_to_become_one(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    for uri in (tmp_path / name, tmp_path):
        with pytest.raises(ManifestError, match=f"no Parquet manifest there, but .* build {advice}` makes one"):
            open_manifest(str(uri), Storage())


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_data_set_of_hugging_face_on_disk(place: Place, is_stream: bool) -> None:
    schema = pa.schema([("photo", IMAGE_STRUCT), ("hole", IMAGE_STRUCT), ("label", pa.uint8())], {"huggingface": "{}"})
    for split, count in (("train", 2), ("test", 1)):
        names = [f"data-{number:05d}-of-{count:05d}.arrow" for number in range(count)]
        for name in [*names, "cache-1234.arrow"]:
            rows = [{"photo": {"bytes": f"{split}/{name}/{n}".encode(), "path": None}, "hole": {"bytes": b"m", "path": "m.png"},
                     "label": 200} for n in range(70)]  # fmt: skip
            buffer = io.BytesIO()
            with (pa.ipc.new_stream if is_stream else pa.ipc.new_file)(buffer, schema) as writer:
                writer.write_table(pa.Table.from_pylist(rows, schema))
            place.storage.write(join(place.uri, "set", split, name), buffer.getvalue())
        state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "x"}
        place.storage.write(join(place.uri, "set", split, "state.json"), json.dumps(state).encode())
        place.storage.write(join(place.uri, "set", split, "dataset_info.json"), b"{}")
    place.storage.write(join(place.uri, "set", "dataset_dict.json"), b'{"splits": ["train", "test"]}')
    target = join(place.uri, "m.parquet")
    built = build_from_parquet(join(place.uri, "set"), Columns("photo", "hole"), target, place.storage)
    rows = built_rows(target, place.storage)
    assert built.rows == len(rows) == 210
    assert built.notes == ("column 'label' (uint8) is kept as int16: the table has no uint8",)
    assert rows[75]["sample_id"] == "train/data-00000-of-00002.arrow/00000005"
    for row in rows:
        file, _, number = row["sample_id"].rpartition("/")
        assert row["image"]["bytes"].decode() == f"{file}/{int(number)}"
    assert {row["label"] for row in rows} == {200}


def csv_rows(place: Place, data: bytes, columns: Columns = Columns()) -> tuple[Built, list[dict[str, Any]]]:  # noqa: B008
    place.storage.write(join(place.uri, "list.csv"), data)
    target = join(place.uri, "m.parquet")
    built = build_from_csv(join(place.uri, "list.csv"), columns, target, place.storage)
    return built, built_rows(target, place.storage)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_csv_of_any_separator_and_encoding(local_place: Place, separator: str, encoding: str) -> None:
    records = (
        ("image", "mask", '"Titel, é; x"', "size"),
        ("a.png", "m.png", '"ein ""Wort""\nzwei; drei, vier|"', "5"),
        ("b.png", "m.png", "ß", "6"),
    )
    text = "".join(separator.join(record) + "\n" for record in records)
    _, rows = csv_rows(local_place, text.encode(encoding))
    assert [row["Titel, é; x"] for row in rows] == ['ein "Wort"\nzwei; drei, vier|', "ß"]
    assert [row["size"] for row in rows] == [5, 6]
    assert [row["image"] for row in rows] == ["a.png", "b.png"]


def test_types_are_decided_by_every_value(local_place: Place) -> None:
    # A block of CSV is a megabyte: what comes after it must not be a surprise.
    many = 30_000
    lines = [f"{n}.png,m.png,{n},{n}.5,00{n},2024-02-{1 + n % 28:02d},true,{'x' * 20},2024-01-01 10:00:00,1" for n in range(many)]
    lines.append("last.png,m.png,n/a,1e3,0,2024-02-30,,,2024-01-01 10:00:00.25,123456789012345678901")
    head = "image,mask,mixed,number,zip,day,flag,word,at,long"
    _, rows = csv_rows(local_place, "\n".join([head, *lines]).encode())
    first, last = rows[0], rows[-1]
    assert (first["mixed"], last["mixed"]) == ("0", "n/a")
    assert (first["number"], last["number"]) == (0.5, 1000.0)
    assert (rows[7]["zip"], last["zip"]) == ("007", "0")
    assert (first["day"], last["day"]) == ("2024-02-01", "2024-02-30")
    assert (first["flag"], last["flag"]) == (True, None)
    assert (first["at"].hour, last["at"].microsecond) == (10, 250_000)
    assert (first["long"], last["long"]) == ("1", "123456789012345678901")


NUMBERS = st.integers(-(10**19), 10**19) | st.floats() | st.sampled_from(["007", "-0", "1e400", "0x10", "1.", "True", "NaN"])


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS.map(str), min_size=1, max_size=6))
def test_no_value_reads_back_as_another(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    place = Place(str(tmp_path_factory.mktemp("csv")), Storage().config)
    _, rows = csv_rows(place, "\n".join(["image,mask,own", *(f"{n}.png,m.png,{v}" for n, v in enumerate(values))]).encode())
    for text, row in zip(values, rows, strict=True):
        value = row["own"]
        if isinstance(value, str):
            assert value == text
        elif isinstance(value, bool):
            assert str(value) == text
        else:
            assert type(value)(text) == value
            assert isinstance(value, float) or str(value) == text


def test_a_sep_line_of_excel_is_none_of_the_rows(local_place: Place) -> None:
    _, rows = csv_rows(local_place, b"sep=;\r\nimage;mask;note\r\na.png;m.png;1,5\r\n")
    assert rows == [{"sample_id": "a.png", "image": "a.png", "mask": "m.png", "note": "1,5"}]


def test_csv_of_another_encoding_is_refused_with_advice(local_place: Place) -> None:
    with pytest.raises(ManifestError, match=r"list.csv: cannot be read as CSV: .*save it as UTF-8"):
        csv_rows(local_place, "image,mask,note\na.png,m.png,café\n".encode("latin-1"))


def test_an_index_of_pandas_is_left_behind(local_place: Place) -> None:
    put(local_place, "p/a.parquet", table(0, __index_level_0__=[7, 9], note=["x", "y"]))
    target = join(local_place.uri, "m.parquet")
    build_from_parquet(join(local_place.uri, "p"), Columns(), target, Storage())
    assert [row["note"] for row in built_rows(target, Storage())] == ["x", "y"]
    assert "__index_level_0__" not in open_manifest(target, Storage()).schema.names


def test_the_annotations_of_coco_are_masks(place: Place) -> None:
    for number, name in enumerate(("a.png", "sub/b.png", "lone.png")):
        place.storage.write(join(place.uri, "photos", name), encoded(picture(number)))
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 16, "height": 16}, {"id": 8, "file_name": "sub/b.png"},
                   {"id": 9, "file_name": "bare.png"}, {"id": 10, "file_name": "gone.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "bbox": [0, 0, 16, 16], "segmentation": [[1, 2, 4, 2, 4, 5, 1, 5]]},
            {"id": 2, "image_id": 7, "bbox": [10, 10, 3, 2]},
            {"id": 3, "image_id": 8, "segmentation": {"size": [16, 16], "counts": [16, 16, 224]}},
            {"id": 4, "image_id": 10, "bbox": [1, 1, 1, 1]},
        ],
        "categories": [],
    }  # fmt: skip
    place.storage.write(join(place.uri, "instances.json"), json.dumps(document).encode())
    photos, annotations, target = (join(place.uri, name) for name in ("photos", "instances.json", "m.parquet"))
    with pytest.raises(ManifestError, match=r"1 pictures without a mask: lone.png; 1 masks without a picture: gone.png"):
        build_from_coco(photos, annotations, target, place.storage)
    built = build_from_coco(photos, annotations, target, place.storage, allow_unpaired=True)
    assert built.rows == 2
    holes, config = {}, ImagesConfig()
    for row in built_rows(target, place.storage):
        image = read_picture(place.storage.read(join(place.uri, row["image"])), config)
        holes[row["sample_id"]] = ~read_keep_mask(row["mask"]["bytes"], image, config)
    assert holes["a.png"].sum() == 4 * 4 + 3 * 2
    assert holes["a.png"][2:6, 1:5].all()
    assert holes["a.png"][10:12, 10:13].all()
    assert holes["sub/b.png"][:, 1].all()
    assert holes["sub/b.png"].sum() == 16
