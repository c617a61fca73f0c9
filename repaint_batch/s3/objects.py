"""Objects on S3, of which what is read is what was written, or an error.

A whole object is held against its ETag, which is the MD5 of anything that was put in one request and is not encrypted with
a key of its own; where there is no such hash, as for ranges and for uploads in parts, see `repaint_batch.s3.certain`. Uploads
carry a checksum which the store holds against what arrives.

Paths are ``bucket/key``. An answer that is not the wanted one is an OSError: FileNotFoundError, FileExistsError, or
PermissionError with the store's words.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow.fs
from fsspec.asyn import sync
from s3fs import S3FileSystem

from repaint_batch.s3.certain import CertainFiles, certain
from repaint_batch.s3.client import Client

_PAGE_KEYS = 1000  # the most that S3 lists at once
_MD5 = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


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
        """Return what `call` does with a filesystem, as `Client.ask` tells."""
        patience_s = self._first_s if self._client.is_stranger else self._patience_s
        return self._client.ask(action, path, call, patience_s, by_words=by_words)

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

        return self.ask("read", path, certain(got))

    def arrow(self) -> pyarrow.fs.FileSystem:
        """Return pyarrow's view."""
        return pyarrow.fs.PyFileSystem(CertainFiles(self, self._client.filesystem))

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
