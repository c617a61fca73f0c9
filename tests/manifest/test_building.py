"""Manifests built from folders, CSV and Parquet: who is paired with whom, and what is refused."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.errors import ManifestError
from repaint_batch.manifest import open_manifest, read_rows
from repaint_batch.manifest.building import (
    Columns,
    build_from_csv,
    build_from_folders,
    build_from_parquet,
    build_with_one_mask,
    build_without_masks,
)
from repaint_batch.manifest.pairing import mask_path
from repaint_batch.schema import IMAGE_STRUCT
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, join

from ..conftest import Place
from ..seaweed import S3Service


@pytest.fixture(params=["local", "s3", "moto"])
def place(request: pytest.FixtureRequest) -> Place:
    """Every backend; the second dialect of S3 lists in another order than the first."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def fill(place: Place, *names: str) -> None:
    for name in names:
        place.storage.write(join(place.uri, name), name.encode())


def built_rows(uri: str, storage: Storage) -> list[dict[str, Any]]:
    manifest = open_manifest(uri, storage)
    return read_rows(manifest.files, 0, manifest.rows, storage).to_pylist()


def test_pictures_without_masks(local_place: Place) -> None:
    fill(local_place, "photos/b.png", "photos/a.jpg", "photos/notes.txt")
    uri = join(local_place.uri, "m.parquet")
    assert build_without_masks(join(local_place.uri, "photos"), uri, local_place.storage).rows == 2
    found = {row["sample_id"]: (row["image"], row["mask"]) for row in built_rows(uri, local_place.storage)}
    assert found == {"a.jpg": ("photos/a.jpg", None), "b.png": ("photos/b.png", None)}


def test_pairs_by_name_whatever_the_order(place: Place) -> None:
    # In key order a.png < a/x.png < aB.png, but a/x_mask < aB_mask < a_mask; and some stores list a/ before a.png.
    pictures = ("photos/a.png", "photos/aB.png", "photos/a-1.jpg", "photos/a/x.JPG", "photos/a/notes.txt")
    fill(place, *pictures, *(f"masks/{stem}_mask.png" for stem in ("a", "aB", "a-1", "a/x")))
    target = join(place.uri, "manifest.parquet")
    built = build_from_folders(
        join(place.uri, "photos"), join(place.uri, "masks"), "{stem}_mask.png", target, place.storage
    )
    assert (built.rows, str(built.unpaired), built.outside) == (4, "", ())
    rows = built_rows(target, place.storage)
    assert [row["sample_id"] for row in rows] == sorted(("a.png", "aB.png", "a-1.jpg", "a/x.JPG"))
    policy = UriPolicy(open_manifest(target, place.storage).base)
    for row in rows:
        stem = row["sample_id"].rpartition(".")[0]
        assert place.storage.read(policy.resolve(row["image"])) == f"photos/{row['sample_id']}".encode()
        assert place.storage.read(policy.resolve(row["mask"])) == f"masks/{stem}_mask.png".encode()


def test_what_is_unpaired_is_named_and_refused(place: Place) -> None:
    fill(place, "i/a.png", "i/b.png", "i/c.png", "m/b.tif", "m/d.json", "m/e.png")
    images, masks, target = join(place.uri, "i"), join(place.uri, "m"), join(place.uri, "built.parquet")
    says = r"2 pictures without a mask: a.png, c.png; 2 masks without a picture: d.json, e.png; .*--allow-unpaired"
    with pytest.raises(ManifestError, match=says):
        build_from_folders(images, masks, "{stem}", target, place.storage)
    assert not place.storage.exists(target)
    built = build_from_folders(images, masks, "{stem}", target, place.storage, allow_unpaired=True)
    assert (built.rows, built.unpaired.pictures, built.unpaired.masks) == (1, 2, 2)
    assert built_rows(target, place.storage) == [{"sample_id": "b.png", "image": "i/b.png", "mask": "m/b.tif"}]


def test_masks_beside_or_below_their_pictures(local_place: Place) -> None:
    storage, photos = local_place.storage, join(local_place.uri, "photos")
    fill(local_place, "photos/a.jpg", "photos/a_mask.png", "photos/b.jpg", "photos/b_mask.gif")
    target = join(photos, "m.parquet")
    assert build_from_folders(photos, photos, "{stem}_mask", target, storage).rows == 2
    assert [row["mask"] for row in built_rows(target, storage)] == ["a_mask.png", "b_mask.gif"]
    with pytest.raises(ManifestError, match=r"a.jpg would be its own mask; say with --pattern"):
        build_from_folders(photos, photos, "{stem}", target, storage)

    fill(local_place, "nested/a.jpg", "nested/masks/a.jpg.png")
    nested = join(local_place.uri, "nested")
    elsewhere = join(local_place.uri, "elsewhere", "m.parquet")
    built = build_from_folders(nested, join(nested, "masks"), "{path}.png", elsewhere, storage)
    assert built.rows == 1
    assert built.outside == (nested, join(nested, "masks"))
    assert built_rows(elsewhere, storage)[0]["image"] == join(nested, "a.jpg"), "absolute outside the manifest's folder"


def test_a_picture_with_two_masks_is_refused(local_place: Place) -> None:
    fill(local_place, "i/a.png", "m/a.png", "m/a.tif")
    with pytest.raises(ManifestError, match=r"a.png has two masks, a.png and a.tif"):
        build_from_folders(f"{local_place.uri}/i", f"{local_place.uri}/m", "{stem}", f"{local_place.uri}/x.parquet", Storage())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_pairing_agrees_with_brute_force(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    # "._" begins what a Mac leaves beside its files, which is left aside.
    names = st.text("aB-_.z", min_size=1, max_size=3).filter(lambda name: not set(name) <= {"."} and not name.startswith("._"))
    stems = st.builds(lambda folder, name: f"{folder}/{name}" if folder else name, st.sampled_from(["", "f", "f-g"]), names)
    pictures, masked = data.draw(st.sets(stems, min_size=1, max_size=8)), data.draw(st.sets(stems, max_size=8))
    place = Place(str(tmp_path_factory.mktemp("pairs")), Storage().config)
    fill(place, *(f"i/{stem}.jpg" for stem in pictures), *(f"m/{stem}_m.png" for stem in masked))
    target = join(place.uri, "m.parquet")
    expected = [(f"{stem}.jpg", f"m/{stem}_m.png") for stem in sorted(pictures & masked, key=lambda stem: f"{stem}.jpg")]

    def build() -> Any:
        images, masks = join(place.uri, "i"), join(place.uri, "m")
        return build_from_folders(images, masks, "{stem}_m.png", target, place.storage, allow_unpaired=True)

    if not expected:
        with pytest.raises(ManifestError, match="no rows"):
            build()
        return
    unpaired = build().unpaired
    assert (unpaired.pictures, unpaired.masks) == (len(pictures - masked), len(masked - pictures))
    assert [(row["sample_id"], row["mask"]) for row in built_rows(target, place.storage)] == expected


def test_mask_patterns() -> None:
    assert mask_path("{stem}_mask.png", "a/b.jpg") == "a/b_mask.png"
    assert mask_path("{path}.png", "a/b.jpg") == "a/b.jpg.png"
    assert mask_path("{folder}/masks/{name}{suffix}", "a/b.jpg") == "a/masks/b.jpg"
    assert mask_path("{folder}/{name}", "b.jpg") == "b"
    assert mask_path("{stem}", "{name}.jpg") == "{name}", "a file's name is no pattern"
    with pytest.raises(ManifestError, match=r"\{stam\} is unknown; known: \{path\}, \{stem\}"):
        mask_path("{stam}.png", "a.jpg")


ODD = ("a b", "100%", "%41", "a#1", "a?b", "a::b", "é", "e\u0301", ".hidden", "photo:1", "x/photo:2", "[a]", "new\nline")


def test_odd_names_are_rows_that_can_be_read(place: Place) -> None:
    names = [name for name in ODD if "\n" not in name or not place.uri.startswith("s3:")]
    fill(place, *(f"my %20 #? p::/{name}.png" for name in names), *(f"masks/{name}_m.png" for name in names))
    images, target = join(place.uri, "my %20 #? p::"), join(place.uri, "my %20 #? p::", "m.parquet")
    built = build_from_folders(images, join(place.uri, "masks"), "{folder}/{name}_m.png", target, place.storage)
    assert built.rows == len(names)
    policy = UriPolicy(open_manifest(target, place.storage).base, (join(place.uri, "masks"),))
    for row in built_rows(target, place.storage):
        stem = row["sample_id"].removesuffix(".png")
        assert place.storage.read(policy.resolve(row["image"])) == f"my %20 #? p::/{stem}.png".encode()
        assert place.storage.read(policy.resolve(row["mask"])) == f"masks/{stem}_m.png".encode()


def test_keys_with_empty_parts_stay_on_their_store(moto_place: Place, moto_service: S3Service) -> None:
    keys = ("lead", "/lead", "d//double", "//twice")
    client = moto_place.storage
    for key in keys:
        client.write(f"{moto_place.uri}/pictures/{key}.png", key.encode())
        client.write(f"{moto_place.uri}/masks/{key}.png", b"m" + key.encode())
    pictures, masks, target = (f"{moto_place.uri}/{name}" for name in ("pictures", "masks", "pictures/m.parquet"))
    for marker in (f"{pictures}/", f"{pictures}/d/", f"{masks}/"):  # with which consoles of S3 mark folders
        bucket, _, key = marker.removeprefix("s3://").partition("/")
        moto_service.filesystem().call_s3("put_object", Bucket=bucket, Key=key, Body=b"")
    for pattern in ("{stem}.png", "{folder}/{name}", "{path}"):
        built = build_from_folders(pictures, masks, pattern, target, client)
        assert (built.rows, built.aside.residents) == (len(keys), 3)
        policy = UriPolicy(pictures, (masks,))
        for row in built_rows(target, client):
            key = row["sample_id"].removesuffix(".png")
            assert client.read(policy.resolve(row["image"])) == key.encode()
            assert client.read(policy.resolve(row["mask"])) == b"m" + key.encode()


def test_what_lives_in_folders_besides_pictures_is_counted(place: Place) -> None:
    residents = ("._a.png", "sub/@eaDir/a.png/SYNO_THUMB.jpg", ".ipynb_checkpoints/a-checkpoint.png", "Thumbs.db", ".DS_Store",
                 "__MACOSX/._a.png", "#recycle/old.png", "sub_$folder$")  # fmt: skip
    fill(place, "i/a.png", "m/a.png", *(f"i/{name}" for name in residents))
    fill(place, "i/notes.txt", "i/a.XMP", "i/b.xmp", "i/README", "m/x.txt")
    target = join(place.uri, "m.parquet")
    built = build_from_folders(join(place.uri, "i"), join(place.uri, "m"), "{stem}", target, place.storage)
    assert (built.rows, built.aside.residents) == (1, len(residents))
    assert built.aside.suffixes == {".xmp": 2, ".txt": 2, "": 1}
    assert "1 without suffix, 8 that systems keep for themselves" in str(built.aside)
    alone = build_with_one_mask(join(place.uri, "i"), join(place.uri, "m", "a.png"), target, place.storage)
    assert (alone.rows, alone.aside.residents, alone.aside.suffixes[".xmp"]) == (1, len(residents), 2)


def test_names_that_no_row_can_hold_are_refused_by_name(tmp_path: Path) -> None:
    place = Place(str(tmp_path), Storage().config)
    fill(place, "i/a.png", "m/a.png", "secret.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/i/caf\xe9.png")).write_bytes(b"x")
    (tmp_path / "i" / "link.png").symlink_to(tmp_path / "secret.png")
    images, masks, target = (join(place.uri, name) for name in ("i", "m", "m.parquet"))
    says = r"2 that cannot be used: .*caf.udce9.png.*its name is not UTF-8.*link.png' is a link that leaves .*rename them"
    for build in (
        lambda **more: build_from_folders(images, masks, "{stem}", target, place.storage, **more),
        lambda **more: build_with_one_mask(images, join(masks, "a.png"), target, place.storage, **more),
    ):
        with pytest.raises(ManifestError, match=says):
            build()
        built = build(allow_unpaired=True)
        assert (built.rows, built.aside.refused_count) == (1, 2)
        assert "2 that cannot be used" in str(built.aside)


def test_one_mask_for_all(place: Place) -> None:
    fill(place, "i/a.png", "i/b/c.webp", "i/mask.png")
    target = join(place.uri, "m.parquet")
    assert build_with_one_mask(join(place.uri, "i"), join(place.uri, "i", "mask.png"), target, place.storage).rows == 2
    assert {(row["sample_id"], row["mask"]) for row in built_rows(target, place.storage)} == {
        ("a.png", "i/mask.png"),
        ("b/c.webp", "i/mask.png"),
    }
    with pytest.raises(ManifestError, match="no such mask"):
        build_with_one_mask(join(place.uri, "i"), join(place.uri, "absent.png"), target, place.storage)


def test_a_csv(place: Place) -> None:
    text = "file,hole,id,score\na.png,m/a.png,007,1.5\ns3://b/x.png,m/x.png,008,2\n"
    place.storage.write(join(place.uri, "in", "list.csv"), text.encode())
    target = join(place.uri, "m.parquet")
    built = build_from_csv(join(place.uri, "in", "list.csv"), Columns("file", "hole", "id"), target, place.storage)
    assert built.rows == 2
    assert built_rows(target, place.storage) == [
        {"sample_id": "007", "image": "in/a.png", "mask": "in/m/a.png", "score": 1.5},
        {"sample_id": "008", "image": "s3://b/x.png", "mask": "in/m/x.png", "score": 2.0},
    ]
    with pytest.raises(ManifestError, match=r"no column image; it has file, hole, id, score"):
        build_from_csv(join(place.uri, "in", "list.csv"), Columns(mask="hole"), target, place.storage)


def test_boxes_and_polygons_in_columns(local_place: Place) -> None:
    text = 'image,boxes,polygons\na.png,"[[1, 2, 3, 4]]",\nb.png,,"[[[0, 0], [5, 0], [5, 5]]]"\n'
    local_place.storage.write(join(local_place.uri, "list.csv"), text.encode())
    target = join(local_place.uri, "m.parquet")
    columns = Columns(boxes="boxes", polygons="polygons")
    build_from_csv(join(local_place.uri, "list.csv"), columns, target, Storage())
    rows = built_rows(target, Storage())
    assert [row["sample_id"] for row in rows] == ["a.png", "b.png"]
    assert json.loads(rows[0]["mask"]["bytes"]) == {"boxes": [[1, 2, 3, 4]], "polygons": []}
    assert json.loads(rows[1]["mask"]["bytes"])["polygons"] == [[[0, 0], [5, 0], [5, 5]]]


def test_parquet_as_hugging_face_writes_it(place: Place) -> None:
    for number in range(2):
        structs = [{"bytes": b"%d-%d" % (number, i), "path": f"{i}.png"} for i in range(70)]
        table = pa.table({
            "photo": pa.array(structs, IMAGE_STRUCT),
            "conditioning": pa.array([s["bytes"] for s in structs]),
            "text": ["caption"] * 70,
        })
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"huggingface": "{}"}), buffer)
        place.storage.write(join(place.uri, "data", f"train-{number:05d}.parquet"), buffer.getvalue())
    target = join(place.uri, "m.parquet")
    built = build_from_parquet(join(place.uri, "data"), Columns("photo", "conditioning"), target, place.storage)
    rows = built_rows(target, place.storage)
    assert built.rows == len(rows) == 140
    assert rows[139] == {
        "sample_id": "train-00001.parquet/00000069",
        "image": {"bytes": b"1-69", "path": "69.png"},
        "mask": {"bytes": b"1-69", "path": None},
        "text": "caption",
    }


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("sample_id,image,mask\na,a.png,m.png\na,b.png,m.png\n", "sample_id must be unique; 1 appear more than once: 'a'"),
        ("image,mask,status\na.png,m.png,fine\n", r"column 'status' \(string\) would collide with the results' own"),
        ("image,mask\n", "no rows"),
    ],
)
def test_what_a_run_would_refuse_is_not_written(tmp_path: Path, rows: str, says: str) -> None:
    (tmp_path / "list.csv").write_text(rows)
    target = tmp_path / "m.parquet"
    with pytest.raises(ManifestError, match=says) as caught:
        build_from_csv(str(tmp_path / "list.csv"), Columns(), str(target), Storage())
    assert str(target) in str(caught.value)
    assert not target.exists()
