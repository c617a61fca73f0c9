"""Bytes from S3 that are what was stored, or an error.

What has a hash is held against it; TLS protects the rest on its way; without TLS whatever has no hash is read until two readings
agree.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs
from botocore.exceptions import FlexibleChecksumError
from s3fs import S3FileSystem
from s3fs.core import S3File

from repaint_batch.store_errors import Damaged, Rotten

if TYPE_CHECKING:
    from repaint_batch.s3.objects import S3Objects

_RANGE_BYTES = 4 << 20  # what is read ahead


def certain(fetch: Callable[[S3FileSystem], tuple[bytes, bool]]) -> Callable[[S3FileSystem], bytes]:
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


class CertainFiles(pyarrow.fs.FSSpecHandler):  # type: ignore[misc]
    """pyarrow's view of a store, of which every range that is read is certain."""

    def __init__(self, objects: "S3Objects", filesystem: S3FileSystem) -> None:
        super().__init__(filesystem)
        self._objects = objects

    def open_input_file(self, path: str) -> pa.PythonFile:
        """Return an object to be read by ranges."""
        opened = self._objects.ask("look", path, lambda filesystem: _SureFile(self._objects, filesystem, path))
        return pa.PythonFile(opened, mode="r")


class _SureFile(S3File):  # type: ignore[misc]
    """An object of which every range that is read is whole, and without TLS was the same twice."""

    def __init__(self, objects: "S3Objects", filesystem: S3FileSystem, path: str) -> None:
        self._objects = objects
        super().__init__(filesystem, path, "rb", block_size=_RANGE_BYTES)

    def _fetch_range(self, start: int, end: int) -> bytes:
        def fetched(filesystem: S3FileSystem) -> tuple[bytes, bool]:
            self.fs = filesystem
            data: bytes = super(_SureFile, self)._fetch_range(start, end)
            if len(data) != max(0, min(end, self.size) - start):
                raise Damaged(f"{len(data)} bytes came of {start} to {end}")
            return data, self._objects.is_protected

        return self._objects.ask("read", self.path, certain(fetched))
