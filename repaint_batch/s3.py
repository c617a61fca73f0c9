"""Objects on S3, of which what is read is what was written, or an error.

A whole object is held against its ETag, which is the MD5 of anything that was put in one request and is not encrypted with
a key of its own. Where there is no such hash, as for ranges and for uploads in parts, TLS protects the way; without TLS
whatever has no hash is read until two readings agree. Uploads carry a checksum which the store holds against what arrives.

A store that is silent, or no longer accepts this client, is waited for (`repaint_batch.patience`), with a new client where
credentials may have changed. A refusal may mean one object, or that credentials were revoked: it is believed if the store
still serves what it served before, or never served anything.

Paths are ``bucket/key``. An answer that is not the wanted one is an OSError: FileNotFoundError, FileExistsError, or
PermissionError with the store's words.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import botocore.session
import pyarrow as pa
import pyarrow.fs
from botocore.exceptions import BotoCoreError, FlexibleChecksumError
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3File

from repaint_batch.errors import RepaintBatchError
from repaint_batch.patience import Patience, Unanswered
from repaint_batch.store_errors import Damaged, Kind, Rotten, Trouble, trouble_in, trouble_of

_PAGE_KEYS = 1000  # the most that S3 lists at once
_RANGE_BYTES = 4 << 20  # what is read ahead
_WITNESSES = 3  # that are remembered of a bucket
_CONNECTIONS = 64
_MD5 = re.compile(r"[0-9a-f]{32}")
_ANSWERS: dict[Kind, type[OSError]] = {
    Kind.MISSING: FileNotFoundError,
    Kind.TAKEN: FileExistsError,
    Kind.REFUSED: PermissionError,
    Kind.FAULTY: PermissionError,
}
_CHANGES = ("write", "delete", "listing")
_T = TypeVar("_T")


class Client:
    """A connection to a store that can be made anew, and what the store is known to have done through it.

    Safe to share between threads. Use `client_of`.

    Args:
        endpoint_url: where the service is; None: AWS.
        region: its region; None: as the environment says.

    Attributes:
        is_stranger: whether the store has never done anything for this client.
        patience: with which it is waited for.
    """

    def __init__(self, endpoint_url: str | None, region: str | None) -> None:
        self._endpoint_url, self._region, self._lock = endpoint_url, region, threading.Lock()
        self._filesystem: S3FileSystem | None = None
        self._served: dict[str, dict[str, None]] = {}  # last objects read, or known to have been read, by bucket
        self._done: set[tuple[str, str]] = set()  # (action, bucket)
        self.is_stranger = True
        self._verified: set[bool] = set()
        self.patience = Patience(endpoint_url or "S3", self._identity)

    @property
    def filesystem(self) -> S3FileSystem:
        """What to ask; whoever asks twice about one thing keeps it."""
        with self._lock:
            if self._filesystem is None:
                self._filesystem = S3FileSystem(
                    endpoint_url=self._endpoint_url,
                    client_kwargs={"region_name": self._region} if self._region else {},
                    use_listings_cache=False,
                    skip_instance_cache=True,
                    config_kwargs={
                        "retries": {"total_max_attempts": 3, "mode": "standard"},  # for what is over in a second
                        "connect_timeout": 10,
                        "read_timeout": 30,  # between two pieces of an answer
                        "max_pool_connections": _CONNECTIONS,
                    },
                )
                self._filesystem.retries = 1
            return self._filesystem

    def _identity(self) -> str:
        """Return who asks, for messages: the access key's id, which is no secret, and where it was found."""
        try:
            found = botocore.session.get_session().get_credentials()
        except BotoCoreError:
            return "this client"
        if found is None:
            return "this client, which has no credentials (AWS_ACCESS_KEY_ID is not set, and the AWS chain has none)"
        where = {"env": "the environment"}.get(found.method, found.method)
        return f"this client (access key {found.access_key}, of {where})"

    def renew(self, failed: S3FileSystem) -> None:
        """Look for credentials again at the next request, unless that was done since `failed` was current."""
        with self._lock:
            if self._filesystem is failed:
                self._filesystem = None

    def note(self, action: str, path: str, *, is_object: bool) -> None:
        """Remember that the store has done this; an object that was read is a witness from now on."""
        bucket, _, key = path.partition("/")
        with self._lock:
            self.is_stranger = False
            self._verified.add(not is_object)
            if action in _CHANGES:
                self._done.add((action, bucket))
            elif action == "read" and is_object:
                kept = self._served.setdefault(bucket, {})
                kept.pop(key, None)
                kept[key] = None
                while len(kept) > _WITNESSES:
                    del kept[next(iter(kept))]

    def vouch(self, paths: Iterable[str]) -> None:
        """Remember objects that the store served to others of the same job, in buckets where it did all that it was asked."""
        for path in paths:
            bucket, _, key = path.partition("/")
            with self._lock:
                self.is_stranger = False
                self._done |= {(action, bucket) for action in _CHANGES}
                self._served.setdefault(bucket, {}).setdefault(key)

    def is_verified(self, *, by_words: bool) -> bool:
        """Return whether the certificate was ever accepted: here, or by deltalake, which is told elsewhere whom to trust."""
        return by_words in self._verified

    def has_done(self, action: str, bucket: str) -> bool:
        """Return whether the store made such a change, or listed, before."""
        return (action, bucket) in self._done

    def witnesses(self, bucket: str = "") -> list[str]:
        """Return paths that were served before, the last first: of a bucket, or of others if there are none."""
        with self._lock:
            own = [f"{bucket}/{key}" for key in self._served.get(bucket, ())]
            others = [f"{other}/{key}" for other, keys in self._served.items() for key in keys]
            return (own or others[-_WITNESSES:])[::-1]

    def forget(self, path: str) -> None:
        """Ask no more for an object that is gone."""
        bucket, _, key = path.partition("/")
        with self._lock:
            self._served.get(bucket, {}).pop(key, None)


_clients: dict[tuple[str | None, str | None, int], Client] = {}
_clients_lock = threading.Lock()


def client_of(endpoint_url: str | None, region: str | None) -> Client:
    """Return this process's one client of a store."""
    with _clients_lock:
        return _clients.setdefault((endpoint_url, region, os.getpid()), Client(endpoint_url, region))


class S3Objects:
    """Objects of one store.

    Args:
        client: of the store.
        patience_s: seconds for which a store that is away is waited for.
        is_protected: whether TLS protects what is read on its way.
        first_s: most of these seconds for a store that has never answered this client; None: all.
    """

    def __init__(self, client: Client, patience_s: float, *, is_protected: bool, first_s: float | None = None) -> None:
        self._client, self._patience_s, self.is_protected = client, patience_s, is_protected
        self._first_s = patience_s if first_s is None else min(first_s, patience_s)

    def ask(self, action: str, path: str, call: Callable[[S3FileSystem], _T], *, by_words: bool = False) -> _T:
        """Return what `call` does with a filesystem; while the store is away it is called again.

        Args:
            action: ``read``, ``write``, ``listing``, ``delete`` or ``look``.
            path: what is asked for.
            call: may be called many times.
            by_words: whether `call` asks by a client of its own, of whose errors only the words tell what ails the store; those
                that are answers are raised as they are.

        Raises:
            FileNotFoundError, FileExistsError, PermissionError: the store's answer.
            StoreUnavailable: it was away for longer than there is patience.
        """
        patience_s = self._first_s if self._client.is_stranger else self._patience_s
        tried = partial(self._tried, action, path, call, by_words)
        return self._client.patience.wait_for(tried, patience_s, f"s3://{path}: {action}")

    def _tried(self, action: str, path: str, call: Callable[[S3FileSystem], _T], by_words: bool) -> _T:
        client, filesystem = self._client, self._client.filesystem

        def once() -> _T:
            try:
                answer = call(filesystem)
            except RepaintBatchError:
                raise
            except Exception as error:
                if (trouble := trouble_in(str(error)) if by_words else trouble_of(error)) is None:
                    raise
                raise Unanswered(trouble, error) from error
            client.note(action, path, is_object=not by_words)
            return answer

        try:
            return once()
        except Unanswered as error:
            last = error
        if last.trouble.code.isdecimal() and client.is_stranger and not by_words:
            last = Unanswered(_explained(filesystem, path, last.trouble), last.cause)
        if last.trouble.kind is Kind.REFUSED:
            revoked = self._revoked(filesystem, action, path.partition("/")[0], last.trouble)
            if revoked is not None:
                client.renew(filesystem)
                raise Unanswered(revoked, last.cause)
            try:
                return once()  # credentials may have been renewed between the refusal and the proof that others are served
            except Unanswered as error:
                last = error
        if last.trouble.kind in _ANSWERS:
            raise last.cause if by_words else _ANSWERS[last.trouble.kind](last.trouble.words) from last.cause
        if last.trouble.kind is Kind.UNTRUSTED:
            client.renew(filesystem)
        wrong = {Kind.UNTRUSTED: client.is_stranger, Kind.UNVERIFIED: not client.is_verified(by_words=by_words)}
        raise Unanswered(last.trouble, last.cause, is_stranger=wrong.get(last.trouble.kind, False))

    def _revoked(self, filesystem: S3FileSystem, action: str, bucket: str, refusal: Trouble) -> Trouble | None:
        """Return what became of the store if it no longer does what it did before; None if a refusal is this request's alone."""
        gone = None
        for path in self._client.witnesses(bucket):
            try:
                _first_byte(filesystem, path)
            except Exception as error:
                trouble = trouble_of(error)
                if trouble is None:
                    raise
                if trouble.kind in (Kind.REFUSED, Kind.UNTRUSTED, Kind.SILENT):
                    gone = trouble
                elif trouble.kind is Kind.MISSING:
                    self._client.forget(path)
            else:
                gone = None
                break
        return refusal if gone is None and self._client.has_done(action, bucket) else gone

    def witnesses(self) -> list[str]:
        """Return paths of a few objects that the store has served."""
        return self._client.witnesses()

    def read(self, path: str, check_size: Callable[[int], None]) -> bytes:
        """Return an object, unless `check_size` raises when it is told how many bytes that would be."""
        bucket, _, key = path.partition("/")

        def got(filesystem: S3FileSystem) -> tuple[bytes, bool]:
            async def fetched() -> tuple[bytes, dict[str, Any]]:
                answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key)
                try:
                    check_size(answer["ContentLength"])
                    return await answer["Body"].read(), answer
                finally:
                    answer["Body"].close()

            data, answer = sync(filesystem.loop, fetched)
            etag = str(answer.get("ETag")).strip('"')
            own_key = "SSECustomerAlgorithm" in answer or str(answer.get("ServerSideEncryption")).startswith("aws:kms")
            if own_key or not _MD5.fullmatch(etag):
                return data, self.is_protected
            return data, hashlib.md5(data, usedforsecurity=False).hexdigest() == etag

        return self.ask("read", path, _certain(got))

    def arrow(self) -> pyarrow.fs.FileSystem:
        """Return pyarrow's view."""
        return pyarrow.fs.PyFileSystem(_Ranges(self, self._client.filesystem))

    def write(self, path: str, data: bytes) -> None:
        """Put an object, whatever is there."""
        self.ask("write", path, lambda filesystem: filesystem.pipe_file(path, data))

    def create(self, path: str, data: bytes) -> bool:
        """Put an object unless something is there; return False if something is, which may be this call's own."""
        try:
            self.ask("write", path, lambda filesystem: filesystem.pipe_file(path, data, mode="create"))
        except FileExistsError:
            return False
        return True

    def upload(self, path: str, local: str) -> None:
        """Put a local file, in parts if it is large."""
        self.ask("write", path, lambda filesystem: filesystem.put_file(local, path))

    def exists(self, path: str) -> bool:
        """Return whether an object or a prefix of some is there."""
        try:
            self.ask("look", path, lambda filesystem: filesystem.info(path))
        except FileNotFoundError:
            return False
        return True

    def delete(self, path: str) -> None:
        """Remove an object."""
        self.ask("delete", path, lambda filesystem: filesystem.rm_file(path))

    def walk(self, path: str, markers: bool = False) -> Iterator[dict[str, Any]]:
        """Yield what is known of every object at or below a path, page by page; if asked for, of keys that mark folders too."""
        bucket, _, key = path.partition("/")
        if key and (found := self._object(path)) is not None:
            yield {**found, "modified": found["LastModified"].timestamp()}
        asked = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/" if key else "", "MaxKeys": _PAGE_KEYS}
        while True:
            page = self._page(path, asked)
            for found in page.get("Contents", []):
                if markers or not found["Key"].endswith("/"):
                    known = {"name": f"{bucket}/{found['Key']}", "size": found["Size"], "ETag": found.get("ETag")}
                    yield {**known, "modified": found["LastModified"].timestamp(), "type": "file"}
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _object(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.ask("look", path, lambda filesystem: filesystem.info(path))
        except FileNotFoundError:
            return None
        return found if found["type"] == "file" else None

    def _page(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        return self.ask("listing", path, lambda filesystem: dict(filesystem.call_s3("list_objects_v2", **asked)))


class _Ranges(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    def __init__(self, objects: S3Objects, filesystem: S3FileSystem) -> None:
        super().__init__(filesystem)
        self._objects = objects

    def open_input_file(self, path: str) -> pa.PythonFile:
        opened = self._objects.ask("look", path, lambda filesystem: _SureFile(self._objects, filesystem, path))
        return pa.PythonFile(opened, mode="r")


class _SureFile(S3File):  # type: ignore[misc]
    """An object of which every range that is read is whole, and without TLS was the same twice."""

    def __init__(self, objects: S3Objects, filesystem: S3FileSystem, path: str) -> None:
        self._objects = objects
        super().__init__(filesystem, path, "rb", block_size=_RANGE_BYTES)

    def _fetch_range(self, start: int, end: int) -> bytes:
        def fetched(filesystem: S3FileSystem) -> tuple[bytes, bool]:
            self.fs = filesystem
            data: bytes = super(_SureFile, self)._fetch_range(start, end)
            if len(data) != max(0, min(end, self.size) - start):
                raise Damaged(f"{len(data)} bytes came of {start} to {end}")
            return data, self._objects.is_protected

        return self._objects.ask("read", self.path, _certain(fetched))


def _certain(fetch: Callable[[S3FileSystem], tuple[bytes, bool]]) -> Callable[[S3FileSystem], bytes]:
    """Return a function that returns what `fetch` says is certain, or what it brings twice in a row, over all of its calls.

    What is wrong by the checksum that the store keeps, and in the same way twice in a row, was not damaged on its way.
    """
    earlier: bytes | str | None = None

    def fetched(filesystem: S3FileSystem) -> bytes:
        nonlocal earlier
        for _ in range(2):
            try:
                data, is_certain = fetch(filesystem)
            except FlexibleChecksumError as error:
                if str(error) == earlier:
                    raise Rotten(f"the store has not kept what it was given: {error}") from error
                earlier = str(error)
                continue
            if is_certain or data == earlier:
                return data
            earlier = data
        raise Damaged("what arrives is not what was stored, and never the same")

    return fetched


def _explained(filesystem: S3FileSystem, path: str, trouble: Trouble) -> Trouble:
    """Return what a mere status meant, which is all that HEAD tells: asked for a list, the store says more."""
    try:
        filesystem.call_s3("list_objects_v2", Bucket=path.partition("/")[0], MaxKeys=1)
    except Exception as error:
        said = trouble_of(error)
        return trouble if said is None or said.code.isdecimal() or said.kind is Kind.SILENT else said
    return trouble


def _first_byte(filesystem: S3FileSystem, path: str) -> None:
    bucket, _, key = path.partition("/")

    async def fetched() -> None:
        answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key, Range="bytes=0-0")
        answer["Body"].close()

    sync(filesystem.loop, fetched)
