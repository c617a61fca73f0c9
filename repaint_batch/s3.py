"""Objects on S3, of which what is read is what was written, or an error.

A whole object is held against its ETag, which is the MD5 of anything that was put in one request and is not encrypted with
a key of its own. Where there is no such hash, as for ranges and for uploads in parts, TLS protects the way; without TLS
whatever has no hash is read until two readings agree. Uploads carry a checksum which the store holds against what arrives.

Paths are ``bucket/key``. All failures that are left after several tries are OSErrors.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import aiohttp
import pyarrow as pa
import pyarrow.fs
from botocore.exceptions import BotoCoreError
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3File

_PAGE_KEYS = 1000  # the most that S3 lists at once
_TRIES = 5  # on top of those that the client makes of a single request
_PAUSE_S = 0.2  # before the second; doubled for each one after it
_RANGE_BYTES = 4 << 20  # what is read ahead
_ANSWERS = (FileNotFoundError, PermissionError, IsADirectoryError, FileExistsError)  # asking again would not change them
_MD5 = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


class S3Objects:
    """A client.

    Args:
        endpoint_url: where the service is; None: AWS.
        region: its region; None: as the environment says.
        is_protected: whether TLS protects what is read on its way.
    """

    def __init__(self, endpoint_url: str | None, region: str | None, *, is_protected: bool) -> None:
        self._is_protected = is_protected
        self.filesystem = S3FileSystem(
            endpoint_url=endpoint_url,
            client_kwargs={"region_name": region} if region else {},
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "retries": {"max_attempts": 5, "mode": "standard"},
                "connect_timeout": 10,
                "read_timeout": 30,  # between two pieces of an answer
            },
        )

    def read(self, path: str, check_size: Callable[[int], None]) -> bytes:
        """Return an object, unless `check_size` raises when it is told how many bytes that would be."""
        bucket, _, key = path.partition("/")

        async def fetched() -> tuple[bytes, dict[str, Any]]:
            answer = await self.filesystem._call_s3("get_object", Bucket=bucket, Key=key)
            try:
                check_size(answer["ContentLength"])
                return await answer["Body"].read(), answer
            finally:
                answer["Body"].close()

        def got() -> tuple[bytes, bool]:
            data, answer = sync(self.filesystem.loop, fetched)
            etag = str(answer.get("ETag")).strip('"')
            own_key = "SSECustomerAlgorithm" in answer or str(answer.get("ServerSideEncryption")).startswith("aws:kms")
            if own_key or not _MD5.fullmatch(etag):
                return data, self._is_protected
            return data, hashlib.md5(data, usedforsecurity=False).hexdigest() == etag

        return _certain(got)

    def arrow(self) -> pyarrow.fs.FileSystem:
        """Return pyarrow's view."""
        return pyarrow.fs.PyFileSystem(_Ranges(self.filesystem, self._is_protected))

    def write(self, path: str, data: bytes) -> None:
        """Put an object, whatever is there."""
        _patiently(lambda: self.filesystem.pipe_file(path, data))

    def create(self, path: str, data: bytes) -> bool:
        """Put an object unless something is there; return False if something is."""

        def created() -> bool:
            try:
                self.filesystem.pipe_file(path, data, mode="create")
                return True
            except OSError:
                # SeaweedFS's refusal of If-None-Match arrives as EINVAL. What is there may be this call's own.
                if self.exists(path):
                    return False
                raise

        return _patiently(created)

    def upload(self, path: str, local: str) -> None:
        """Put a local file, in parts if it is large."""
        _patiently(lambda: self.filesystem.put_file(local, path))

    def exists(self, path: str) -> bool:
        """Return whether an object or a prefix of some is there."""
        return bool(_patiently(lambda: self.filesystem.exists(path)))

    def delete(self, path: str) -> None:
        """Remove an object."""
        _patiently(lambda: self.filesystem.rm_file(path))

    def walk(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield what is known of every object at or below a path, page by page."""
        bucket, _, key = path.partition("/")
        if key and _patiently(lambda: self.filesystem.isfile(path)):
            found = self.filesystem.info(path)
            yield {**found, "modified": found["LastModified"].timestamp()}
        asked = {"Bucket": bucket, "Prefix": f"{key.rstrip('/')}/" if key else "", "MaxKeys": _PAGE_KEYS}
        while True:
            page = self._page(asked)
            for found in page.get("Contents", []):
                if not found["Key"].endswith("/"):
                    known = {"name": f"{bucket}/{found['Key']}", "size": found["Size"], "ETag": found.get("ETag")}
                    yield {**known, "modified": found["LastModified"].timestamp(), "type": "file"}
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        return _patiently(lambda: dict(self.filesystem.call_s3("list_objects_v2", **asked)))


class _Ranges(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    def __init__(self, filesystem: S3FileSystem, is_protected: bool) -> None:
        super().__init__(filesystem)
        self._is_protected = is_protected

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(_patiently(lambda: _SureFile(self.fs, path, self._is_protected)), mode="r")


class _SureFile(S3File):  # type: ignore[misc]
    """An object of which every range that is read is whole, and without TLS was the same twice."""

    def __init__(self, filesystem: S3FileSystem, path: str, is_protected: bool) -> None:
        self._is_protected = is_protected
        super().__init__(filesystem, path, "rb", block_size=_RANGE_BYTES)

    def _fetch_range(self, start: int, end: int) -> bytes:
        def fetched() -> tuple[bytes, bool]:
            data: bytes = super(_SureFile, self)._fetch_range(start, end)
            if len(data) != max(0, min(end, self.size) - start):
                raise OSError(f"{self.path}: {len(data)} bytes came of {start} to {end}")
            return data, self._is_protected

        return _certain(fetched)


def _certain(fetch: Callable[[], tuple[bytes, bool]]) -> bytes:
    """Return what `fetch` says is certain, or what it brings twice in a row.

    Raises:
        OSError: no two readings agree, or what the last of them raised.
    """
    earlier: bytes | None = None

    def fetched() -> bytes:
        nonlocal earlier
        for _ in range(2):
            data, is_certain = fetch()
            if is_certain or data == earlier:
                return data
            earlier = data
        raise OSError("what arrives is not what was stored, and never the same")

    return _patiently(fetched)


def _patiently(call: Callable[[], _T]) -> _T:
    """Return what `call` does, after a few failures if it must be."""
    tried = 0
    while True:
        try:
            return call()
        except _ANSWERS:
            raise
        except (OSError, BotoCoreError, aiohttp.ClientError) as error:
            tried += 1
            if tried == _TRIES:
                raise OSError(str(error)) from error
            time.sleep(_PAUSE_S * 2 ** (tried - 1))
