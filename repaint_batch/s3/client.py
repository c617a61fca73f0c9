"""A connection to a store on S3, and whether to believe what it answers.

A store that is silent, or no longer accepts this client, is waited for (`repaint_batch.patience`), with a new client where
credentials may have changed. A refusal may mean one object, or that credentials were revoked: it is believed if the store
still serves what it served before, or never served anything.

Paths are ``bucket/key``.
"""

import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import botocore.session
from botocore.exceptions import BotoCoreError
from fsspec.asyn import sync
from s3fs import S3FileSystem

from repaint_batch.errors import RepaintBatchError
from repaint_batch.patience import Patience, Unanswered
from repaint_batch.store_errors import Kind, Trouble, trouble_in, trouble_of

_WITNESSES = 3  # that are remembered of a bucket
_CONNECTIONS = 64
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
                        "retries": {"total_max_attempts": 2, "mode": "standard"},  # for what is over in a second
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

    def _renew(self, failed: S3FileSystem) -> None:
        """Look for credentials again at the next request, unless that was done since `failed` was current."""
        with self._lock:
            if self._filesystem is failed:
                self._filesystem = None

    def _note(self, action: str, path: str, *, is_object: bool) -> None:
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

    def _is_verified(self, *, by_words: bool) -> bool:
        """Return whether the certificate was ever accepted: here, or by deltalake, which is told elsewhere whom to trust."""
        return by_words in self._verified

    def _has_done(self, action: str, bucket: str) -> bool:
        """Return whether the store made such a change, or listed, before."""
        return (action, bucket) in self._done

    def witnesses(self, bucket: str = "") -> list[str]:
        """Return paths that were served before, the last first: of a bucket, or of others if there are none."""
        with self._lock:
            own = [f"{bucket}/{key}" for key in self._served.get(bucket, ())]
            others = [f"{other}/{key}" for other, keys in self._served.items() for key in keys]
            return (own or others[-_WITNESSES:])[::-1]

    def _forget(self, path: str) -> None:
        """Ask no more for an object that is gone."""
        bucket, _, key = path.partition("/")
        with self._lock:
            self._served.get(bucket, {}).pop(key, None)

    def ask(self, action: str, path: str, call: Callable[[S3FileSystem], _T], patience_s: float, *, by_words: bool = False) -> _T:
        """Return what `call` does with a filesystem; while the store is away it is called again.

        Args:
            action: ``read``, ``write``, ``listing``, ``delete`` or ``look``.
            path: what is asked for.
            call: may be called many times.
            patience_s: seconds for which a store that is away is waited for.
            by_words: whether `call` asks by a client of its own, of whose errors only the words tell what ails the store; those
                that are answers are raised as they are.

        Raises:
            FileNotFoundError, FileExistsError, PermissionError: the store's answer.
            StoreUnavailable: it was away for longer than there is patience.
        """
        return self.patience.wait_for(partial(self._tried, action, path, call, by_words), patience_s, f"s3://{path}: {action}")

    def _tried(self, action: str, path: str, call: Callable[[S3FileSystem], _T], by_words: bool) -> _T:
        filesystem = self.filesystem

        def once() -> _T:
            try:
                answer = call(filesystem)
            except RepaintBatchError:
                raise
            except Exception as error:
                if (trouble := trouble_in(str(error)) if by_words else trouble_of(error)) is None:
                    raise
                raise Unanswered(trouble, error) from error
            self._note(action, path, is_object=not by_words)
            return answer

        try:
            return once()
        except Unanswered as error:
            last = error
        if last.trouble.code.isdecimal() and self.is_stranger and not by_words:
            last = Unanswered(_explained(filesystem, path, last.trouble), last.cause)
        if last.trouble.kind is Kind.REFUSED:
            revoked = self._revoked(filesystem, action, path.partition("/")[0], last.trouble)
            if revoked is not None:
                self._renew(filesystem)
                raise Unanswered(revoked, last.cause)
            try:
                return once()  # credentials may have been renewed between the refusal and the proof that others are served
            except Unanswered as error:
                last = error
        if last.trouble.kind in _ANSWERS:
            raise last.cause if by_words else _ANSWERS[last.trouble.kind](last.trouble.words) from last.cause
        if last.trouble.kind is Kind.UNTRUSTED:
            self._renew(filesystem)
        wrong = {Kind.UNTRUSTED: self.is_stranger, Kind.UNVERIFIED: not self._is_verified(by_words=by_words)}
        raise Unanswered(last.trouble, last.cause, is_stranger=wrong.get(last.trouble.kind, False))

    def _revoked(self, filesystem: S3FileSystem, action: str, bucket: str, refusal: Trouble) -> Trouble | None:
        """Return what became of the store if it no longer does what it did before; None if a refusal is this request's alone."""
        gone = None
        for path in self.witnesses(bucket):
            try:
                _first_byte(filesystem, path)
            except Exception as error:
                trouble = trouble_of(error)
                if trouble is None:
                    raise
                if trouble.kind in (Kind.REFUSED, Kind.UNTRUSTED, Kind.SILENT):
                    gone = trouble
                elif trouble.kind is Kind.MISSING:
                    self._forget(path)
            else:
                gone = None
                break
        return refusal if gone is None and self._has_done(action, bucket) else gone


_clients: dict[tuple[str | None, str | None, int], Client] = {}
_clients_lock = threading.Lock()


def client_of(endpoint_url: str | None, region: str | None) -> Client:
    """Return this process's one client of a store."""
    with _clients_lock:
        return _clients.setdefault((endpoint_url, region, os.getpid()), Client(endpoint_url, region))


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
