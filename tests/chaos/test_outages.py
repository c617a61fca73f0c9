"""A store that is away, or no longer accepts its clients, fails nobody: it is waited for; then the error has its words."""

import logging
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from repaint_batch import patience
from repaint_batch.config import StorageConfig
from repaint_batch.errors import SourceMissing, Stopped, StorageError, StoreUnavailable
from repaint_batch.manifest import open_manifest
from repaint_batch.s3.client import client_of
from repaint_batch.storage import Storage

from ..corpus import rows, write_manifest
from ..seaweed import ACCESS_KEY, RENEWED_ACCESS_KEY, RENEWED_SECRET_KEY
from .conftest import Faulty
from .proxy import Exchange, Refusal

EXPIRED = Refusal(400, "ExpiredToken", "The provided token has expired.")
DENIED = Refusal(403, "AccessDenied", "Access Denied.")
SKEWED = Refusal(403, "RequestTimeTooSkewed", "The clocks differ.")
SLOW_DOWN = Refusal(503, "SlowDown", "Please reduce your request rate.")
FULL = Refusal(403, "QuotaExceeded", "No more.")
AWAY = None
_REACHED = "see that it runs and can be reached from here"

ACTIONS: dict[str, Callable[[Storage, str], object]] = {
    "read": lambda storage, base: storage.read(f"{base}/object"),
    "write": lambda storage, base: storage.write(f"{base}/written", b"1"),
    "upload": lambda storage, base: storage.upload(f"{base}/uploaded", __file__),
    "create": lambda storage, base: storage.create(f"{base}/created", b"1"),
    "list": lambda storage, base: len(list(storage.list(f"{base}/folder"))),
    "list one": lambda storage, base: len(list(storage.list(f"{base}/object"))),
    "look": lambda storage, base: storage.exists(f"{base}/object"),
    "look for none": lambda storage, base: storage.exists(f"{base}/nothing"),
    "delete": lambda storage, base: storage.delete(f"{base}/deleted"),
    "manifest": lambda storage, base: open_manifest(f"{base}/manifest.parquet", storage).rows,
    "table": lambda storage, base: storage.patiently(
        f"{base}/table", "read", lambda: DeltaTable(f"{base}/table", storage_options=storage.delta_options()).version()
    ),
}
FOUND = {"read": b"data", "create": True, "list": 1, "list one": 1, "look": True, "look for none": False}
FOUND |= {"manifest": 12, "table": 0}


@dataclass
class Trouble:
    """Refuses requests, or lets their connections drop, for a while.

    Attributes:
        refusal: with what; None: nobody answers.
        left: requests until it is over.
        of: which requests.
        harmed: those that it was.
    """

    refusal: Refusal | None
    left: float = float("inf")
    of: Callable[[Exchange], bool] = lambda exchange: True
    harmed: list[Exchange] = field(default_factory=list)

    def befall(self, faulty: Faulty) -> "Trouble":
        """Begin."""
        faulty.proxy.refuse = lambda exchange: self.refusal if self.harms(exchange) else None
        faulty.proxy.watch = lambda exchange: self.refusal is None and not exchange.performed and self.harms(exchange)
        return self

    def harms(self, exchange: Exchange) -> bool:
        """Return whether this request is one of them, and count it."""
        if len(self.harmed) >= self.left or not self.of(exchange):
            return False
        self.harmed.append(exchange)
        return True


@pytest.fixture
def stocked(faulty: Faulty) -> Faulty:
    """With objects, a manifest and a table; one was read through the proxy, and one written."""
    write_manifest(faulty.behind, rows(12))
    storage, uri = faulty.behind.storage, faulty.behind.uri
    for name in ("object", "folder/object", "other"):
        storage.write(f"{uri}/{name}", b"data")
    write_deltalake(f"{uri}/table", pa.table({"a": [1]}), storage_options=storage.delta_options())
    assert faulty.place.storage.read(f"{uri}/object") == b"data"
    faulty.place.storage.write(f"{uri}/before", b"1")
    return faulty


def hurried(faulty: Faulty, *served: str) -> Storage:
    """Return a client with little patience."""
    return Storage(faulty.place.config.model_copy(update={"patience_s": 1.0}), served)


def fresh(faulty: Faulty, *served: str) -> Storage:
    """Return what a process has that has not read anything yet: a client of its own."""
    return Storage(StorageConfig(endpoint_url=faulty.proxy.url.replace("127.0.0.1", "localhost"), patience_s=1), served)


@pytest.mark.parametrize("refusal", [AWAY, SLOW_DOWN, EXPIRED], ids=["away", "503", "expired"])
def test_a_short_outage_fails_nothing(stocked: Faulty, refusal: Refusal | None) -> None:
    trouble = Trouble(refusal, left=40).befall(stocked)
    storage = Storage(stocked.place.config.model_copy(update={"patience_s": 30.0}))
    with ThreadPoolExecutor(len(ACTIONS)) as pool:
        done = {name: pool.submit(act, storage, stocked.place.uri) for name, act in ACTIONS.items()}
    found = {name: result.result() for name, result in done.items()}
    assert {name: found[name] for name in FOUND} == FOUND
    assert stocked.behind.storage.read(f"{stocked.behind.uri}/written") == b"1"
    assert len(trouble.harmed) == 40


CLIENT = "does not accept this client (access key test-key, of the environment)"


def test_a_long_one_is_told_as_what_it_is(stocked: Faulty) -> None:
    Trouble(EXPIRED).befall(stocked)

    def told(action: str) -> str:
        with pytest.raises(StoreUnavailable) as caught:
            ACTIONS[action](hurried(stocked), stocked.place.uri)
        return str(caught.value)

    with ThreadPoolExecutor(len(ACTIONS)) as pool:
        found = list(pool.map(told, ACTIONS))
    for said in found:
        assert said.startswith(stocked.place.uri)
        assert f"failed: {stocked.proxy.url} {CLIENT}, and 1 s of patience are over: " in said
        assert said.endswith("; renew the credentials, then start this again: what is done stays done")


def test_the_stores_own_words_and_what_to_do(stocked: Faulty) -> None:
    uri = f"{stocked.place.uri}/other"
    for refusal, does, words, advice in (
        (EXPIRED, CLIENT, 'ExpiredToken, "The provided token has expired."', "renew the credentials"),
        (
            SKEWED,
            CLIENT,
            'RequestTimeTooSkewed, "The clocks differ."',
            "set the clock of this machine right",
        ),
        (DENIED, "refuses what it allowed before", 'AccessDenied, "Access Denied."', "give back the permission"),
        (SLOW_DOWN, "does not answer as it should", 'SlowDown, "Please reduce your request rate."', _REACHED),
        (FULL, "does not answer as it should", 'QuotaExceeded, "No more."', "make room in it"),
        (AWAY, "does not answer as it should", f'Could not connect to the endpoint URL: "{_url(stocked, "other")}"', _REACHED),
    ):
        Trouble(refusal).befall(stocked)
        with pytest.raises(StoreUnavailable) as caught:
            hurried(stocked).read(uri)
        end = f"and 1 s of patience are over: {words}; {advice}, then start this again: what is done stays done"
        assert str(caught.value) == f"{uri}: read failed: {stocked.proxy.url} {does}, {end}"


def _url(faulty: Faulty, name: str) -> str:
    return f"{faulty.proxy.url}/{faulty.place.uri.removeprefix('s3://')}/{name}"


def test_a_dead_endpoint_is_unavailable(faulty: Faulty) -> None:
    faulty.proxy.__exit__()
    with pytest.raises(StoreUnavailable, match=r"does not answer as it should.*Could not connect"):
        hurried(faulty).read(f"{faulty.place.uri}/object")


@pytest.mark.parametrize("kept_in", ["environment", "file"])
def test_renewed_credentials_are_picked_up(
    stocked: Faulty, kept_in: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"

    def keep(access_key: str, secret_key: str) -> None:
        if kept_in == "environment":
            os.environ.update(AWS_ACCESS_KEY_ID=access_key, AWS_SECRET_ACCESS_KEY=secret_key)
        else:
            credentials.write_text(f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, os.environ[name])  # put back at the end
        if kept_in == "file":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    keep(ACCESS_KEY, "test-secret")
    storage, uri = fresh(stocked), f"{stocked.place.uri}/object"
    assert storage.read(uri) == b"data"
    seen: list[str] = []

    def refuse(exchange: Exchange) -> Refusal | None:
        seen.append(exchange.access_key)
        if len(seen) == 3:
            keep(RENEWED_ACCESS_KEY, RENEWED_SECRET_KEY)
        return EXPIRED if exchange.access_key == ACCESS_KEY else None

    stocked.proxy.refuse = refuse
    storage = Storage(storage.config.model_copy(update={"patience_s": 20.0}))
    assert storage.read(uri) == b"data"
    assert seen == [ACCESS_KEY] * 3 + [RENEWED_ACCESS_KEY]


def test_one_object_that_may_not_be_read_is_its_own_fault(stocked: Faulty) -> None:
    trouble = Trouble(DENIED, of=lambda exchange: "/other" in exchange.path).befall(stocked)
    with pytest.raises(SourceMissing, match=r'/other: may not be read \(AccessDenied, "Access Denied."\)'):
        stocked.place.storage.read(f"{stocked.place.uri}/other")
    assert len(trouble.harmed) == 2, "asked again once others were seen to be served"
    assert stocked.place.storage.read(f"{stocked.place.uri}/object") == b"data"


def test_what_was_served_and_is_gone_proves_nothing(stocked: Faulty) -> None:
    stocked.behind.storage.delete(f"{stocked.behind.uri}/object")
    Trouble(DENIED, of=lambda exchange: "/other" in exchange.path).befall(stocked)
    with pytest.raises(SourceMissing, match="may not be read"):
        hurried(stocked).read(f"{stocked.place.uri}/other")


def test_a_process_that_read_nothing_yet_asks_for_what_others_did(stocked: Faulty) -> None:
    uri, known = f"{stocked.place.uri}/other", f"{stocked.place.uri}/object"
    Trouble(DENIED, of=lambda exchange: "/other" in exchange.path).befall(stocked)
    with pytest.raises(SourceMissing, match="may not be read"):
        fresh(stocked, known).read(uri)
    Trouble(DENIED).befall(stocked)
    with pytest.raises(StoreUnavailable, match="refuses what it allowed before"):
        fresh(stocked, known).read(uri)


def test_a_client_that_travels_takes_along_what_it_was_served(stocked: Faulty) -> None:
    nobody = fresh(stocked)
    assert nobody.read(f"{stocked.place.uri}/object") == b"data"
    assert pickle.loads(pickle.dumps(nobody)).served == (f"{stocked.place.uri}/object",)


def test_what_the_store_itself_damaged_is_one_objects_fault(stocked: Faulty) -> None:
    stocked.proxy.rotten = "/other"
    with pytest.raises(SourceMissing, match=r"/other: may not be read .the store has not kept what it was given: Exp"):
        stocked.place.storage.read(f"{stocked.place.uri}/other")
    assert stocked.place.storage.read(f"{stocked.place.uri}/object") == b"data"


def test_settings_that_never_worked_are_not_waited_for_long(stocked: Faulty) -> None:
    Trouble(EXPIRED).befall(stocked)
    patient = fresh(stocked).config.model_copy(update={"patience_s": 600.0})
    with pytest.raises(StoreUnavailable, match=r"and 5 s of patience are over: ExpiredToken"):
        Storage(patient).read(f"{stocked.place.uri}/object")


def test_a_key_that_no_store_takes_is_its_own_fault(stocked: Faulty) -> None:
    for key in ("k" * 2000, "other"):
        Trouble(Refusal(400, "KeyTooLongError", "Your key is too long.")).befall(stocked)
        with pytest.raises(SourceMissing, match="may not be read"):
            stocked.place.storage.read(f"{stocked.place.uri}/{key}")


def test_a_bucket_that_became_read_only_is_waited_for_and_one_that_always_was_is_not(stocked: Faulty) -> None:
    Trouble(DENIED, of=lambda exchange: exchange.method == "PUT").befall(stocked)
    uri = f"{stocked.place.uri}/other"
    with pytest.raises(StoreUnavailable, match=r"write failed: .* refuses what it allowed before"):
        hurried(stocked).write(uri, b"1")
    never = Storage(fresh(stocked).config.model_copy(update={"patience_s": 600.0}))
    assert never.read(uri) == b"data"
    with pytest.raises(StorageError, match=r'write failed: AccessDenied, "Access Denied."') as caught:
        never.write(uri, b"1")
    assert not isinstance(caught.value, StoreUnavailable)


def test_a_stop_ends_the_wait_for_a_store(stocked: Faulty) -> None:
    Trouble(SLOW_DOWN).befall(stocked)
    patient = Storage(stocked.place.config.model_copy(update={"patience_s": 600.0}))
    threading.Timer(1, patience.STOP.set).start()
    try:
        with pytest.raises(Stopped, match="read: told to stop while waiting for http"):
            patient.read(f"{stocked.place.uri}/object")
    finally:
        patience.STOP.clear()


def test_errors_of_a_table_that_are_no_trouble_of_the_store_pass(stocked: Faulty) -> None:
    storage, uri = stocked.place.storage, f"{stocked.place.uri}/table"

    def opened(uri: str) -> DeltaTable:
        return storage.patiently(uri, "read", lambda: DeltaTable(uri, storage_options=storage.delta_options()))

    with pytest.raises(Exception, match=r"(?i)no files in log segment|not found|no table"):
        opened(f"{stocked.place.uri}/no-table")
    Trouble(DENIED).befall(stocked)
    with pytest.raises(StoreUnavailable, match="refuses what it allowed before"):
        hurried(stocked).patiently(uri, "read", lambda: DeltaTable(uri, storage_options=storage.delta_options()))


def test_a_process_has_one_client_of_a_store(stocked: Faulty, caplog: pytest.LogCaptureFixture) -> None:
    url = stocked.proxy.url
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: client_of(url, "us-east-1"), range(64)))) == 1
        assert client_of(url, "eu-central-1") is not client_of(url, "us-east-1")
        Trouble(AWAY, left=100).befall(stocked)
        with caplog.at_level(logging.WARNING):
            found = set(pool.map(lambda _: stocked.place.storage.read(f"{stocked.place.uri}/object"), range(64)))
    assert found == {b"data"}
    assert sum("waiting for" in message for message in caplog.messages) <= 1, "an outage is told once, whoever waits"
