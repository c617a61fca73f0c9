"""One contract for every backend, and the door that strangers' URIs pass."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.config import StorageConfig
from repaint_batch.errors import SourceMissing, UriRefused
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, join, normalise

from .conftest import OTHER, Place


@pytest.fixture(params=["local", "s3", "moto", *OTHER])
def place(request: pytest.FixtureRequest) -> Place:
    """Every backend, and two dialects of S3."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def test_what_is_written_is_read(place: Place) -> None:
    uri = join(place.uri, "folder", "object")
    place.storage.write(uri, b"first")
    place.storage.write(uri, b"second")
    assert place.storage.read(uri) == b"second"
    assert place.storage.exists(uri)


def test_missing_object_is_named(place: Place) -> None:
    uri = join(place.uri, "nothing")
    with pytest.raises(SourceMissing, match=r"nothing: no such object"):
        place.storage.read(uri)
    assert not place.storage.exists(uri)


def test_size_cap_holds_before_reading(place: Place) -> None:
    uri = join(place.uri, "large")
    place.storage.write(uri, b"x" * 100)
    with pytest.raises(SourceMissing, match="100 bytes, more than the 99"):
        place.storage.read(uri, max_bytes=99)
    assert len(place.storage.read(uri, max_bytes=100)) == 100


def test_only_one_of_many_creates(place: Place) -> None:
    uri = join(place.uri, "once")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: place.storage.create(uri, b"%d" % i), range(8)))
    assert won.count(True) == 1
    assert place.storage.read(uri) == b"%d" % won.index(True)
    assert not place.storage.create(uri, b"later")


def test_list_is_sorted_and_whole(place: Place) -> None:
    for name in ("b/2", "a/1", "c"):
        place.storage.write(join(place.uri, "listing", name), name.encode())
    found = [uri for uri, _ in place.storage.list(join(place.uri, "listing"))]
    assert found == [normalise(join(place.uri, "listing", name)) for name in ("a/1", "b/2", "c")]
    assert list(place.storage.list(join(place.uri, "no-such-prefix"))) == []


def test_a_walk_pages_through_everything(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repaint_batch.s3.objects._PAGE_KEYS", 7)
    root = join(place.uri, "walk")
    names = {f"folder/{number:02d}" for number in range(20)} | {"folder-b", "folder.c", "x/y/z"}
    for name in names:
        place.storage.write(join(root, name), b"12")
    place.storage.write(join(place.uri, "walk-not-this"), b"1")
    found = list(place.storage.walk(root))
    assert {uri for uri, _ in found} == {normalise(join(root, name)) for name in names}
    assert len(found) == len(names), "no page was read twice"
    assert all(info["size"] == 2 for _, info in found)
    assert [uri for uri, _ in place.storage.list(root)] == sorted(uri for uri, _ in found)
    one = normalise(join(root, "folder-b"))
    assert [uri for uri, _ in place.storage.walk(one)] == [one], "an object lists itself"
    assert list(place.storage.walk(join(place.uri, "no-such-prefix"))) == []


def test_a_walk_is_lazy_and_does_not_enter_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "a" / "1")
    walk = Storage().walk(str(tmp_path))
    assert next(walk)[0] == str(tmp_path / "a" / "1")
    (tmp_path / "a" / "linked").unlink()
    assert list(walk) == [], "what is gone when its turn comes is not listed"


def test_a_file_is_uploaded_whole(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * 1000)
    place.storage.upload(join(place.uri, "deep", "target.bin"), source)
    assert place.storage.read(join(place.uri, "deep", "target.bin")) == source.read_bytes()


def test_delete_twice_is_no_error(place: Place) -> None:
    uri = join(place.uri, "gone")
    place.storage.write(uri, b"x")
    place.storage.delete(uri)
    place.storage.delete(uri)
    assert not place.storage.exists(uri)


def test_a_pickled_client_carries_no_connection(place: Place) -> None:
    place.storage.write(join(place.uri, "x"), b"x")
    assert pickle.loads(pickle.dumps(place.storage)).read(join(place.uri, "x")) == b"x"


@pytest.mark.parametrize(
    "uri",
    [
        "http://host/a.png",
        "https://host/a.png",
        "gs://bucket/a",
        "ftp://host/a",
        "simplecache::s3://bucket/a",
        "local:///etc/passwd",
        "s3://key:secret@bucket/a",
        "s3://bucket:9000/a",
        "s3://corpus/a?endpoint_override=http://evil",
        "s3://corpus/a#x",
        "s3://other/a.png",
        "s3://corpus-of-somebody-else/a.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "../secret",
        "a/../../secret",
        "a\\..\\secret",
        "s3://corpus/a/../../other",
        "a\0b",
        "/lead.png",
        "file://elsewhere/corpus/a.png",
        "file:a.png",
        "file:///corpus/%2e%2e/secret",
        "caf\udce9.png",
        "s3://corpus/pictures/a.png?versionId=x",
        "photo:1.png",
    ],
)
def test_uris_of_strangers_are_refused(uri: str) -> None:
    with pytest.raises(UriRefused) as caught:
        UriPolicy("s3://corpus/pictures", ("s3://corpus/masks",)).resolve(uri)
    assert "secret@" not in str(caught.value)


def test_relative_and_allowed_uris_resolve() -> None:
    policy = UriPolicy("s3://corpus/pictures", ("s3://corpus/masks",))
    assert policy.resolve("a/b.png") == "s3://corpus/pictures/a/b.png"
    assert policy.resolve("s3://corpus/masks/a.png") == "s3://corpus/masks/a.png"


@pytest.mark.parametrize(
    "key", ["a#1.png", "a?b.png", "a::b/c.png", "100%.png", "%41.png", "d//double.png", "/lead.png", "a\nb", "é"]
)
def test_a_key_is_taken_as_it_stands(key: str) -> None:
    assert UriPolicy("s3://corpus/pictures").resolve(f"s3://corpus/pictures/{key}") == f"s3://corpus/pictures/{key}"


def test_a_local_path_beside_a_manifest_on_s3_is_no_advice_to_allow_it() -> None:
    with pytest.raises(UriRefused, match=r"a path on this machine, and the manifest lies at s3://corpus/pictures; write the"):
        UriPolicy("s3://corpus/pictures").resolve("/lead.png")


@pytest.mark.parametrize(
    "name", ["a b.png", "100%.png", "a#1?.png", "a%20b.png", "é.png", "x::y.png", "new\nline.png", "photo:1.png"]
)
def test_file_uris_are_what_paths_write(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    policy = UriPolicy(str(tmp_path))
    as_uri = path.as_uri()
    for uri in (as_uri, as_uri.replace("file:///", "file:/"), as_uri.replace("//", "//localhost", 1), str(path)):
        assert policy.resolve(uri) == normalise(uri) == str(path)
    assert policy.resolve(f"./{name}") == str(path)
    assert Storage().read(path.as_uri()) == b"x"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(lambda name: name not in (".", "..")))
def test_any_file_uri_names_its_path(name: str) -> None:
    path = Path("/corpus") / name
    assert normalise(path.as_uri()) == str(path)


def test_any_key_is_written_listed_and_read(place: Place) -> None:
    names = ["a b", "100%", "%41", "a#1", "a?b", "a::b", "é", "e\u0301", ".hidden", "a+b", "a&b=c", "a'b", 'a"b', "~", "[a]"]
    root = join(place.uri, "odd #? %20::")
    for name in names:
        assert place.storage.create(join(root, name), name.encode())
    found = dict(place.storage.walk(root))
    assert set(found) == {normalise(join(root, name)) for name in names}
    for name in names:
        uri = join(root, name)
        assert place.storage.read(uri) == name.encode()
        assert place.storage.exists(uri)
        filesystem, path = place.storage.arrow(uri)
        with filesystem.open_input_file(path) as file:
            assert file.read() == name.encode()
        place.storage.delete(uri)
        assert not place.storage.exists(uri)


def test_a_link_out_of_the_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "corpus" / "innocent.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UriRefused, match="link that leaves"):
        UriPolicy(str(tmp_path / "corpus")).resolve("innocent.png")


def test_a_link_that_is_put_there_after_the_check_is_refused(tmp_path: Path) -> None:
    corpus, storage = tmp_path / "corpus", Storage()
    corpus.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (corpus / "a.png").write_bytes(b"a")
    (corpus / "inside.png").symlink_to(corpus / "a.png")
    policy = UriPolicy(str(corpus))
    assert policy.read("inside.png", storage) == b"a"
    checked = policy.resolve("a.png")
    (corpus / "a.png").unlink()
    (corpus / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UriRefused, match="link that leaves"):
        storage.read(checked, within=str(corpus))
    (corpus / "a.png").unlink()
    os.mkfifo(corpus / "a.png")
    with pytest.raises(SourceMissing, match="it is no file"):
        policy.read("a.png", storage)


def test_endpoint_with_credentials_is_refused() -> None:
    with pytest.raises(ValueError, match="must not carry credentials"):
        StorageConfig(endpoint_url="http://key:secret@host")


def test_endpoint_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    expected = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ALLOW_HTTP": "true", "AWS_CHECKSUM_ALGORITHM": "SHA256"}
    assert expected.items() <= Storage().delta_options().items()
    assert Storage(StorageConfig(endpoint_url="https://other")).endpoint_url == "https://other"
