"""Files on a local disk: opened only if they are regular, published in one piece, listed without following links."""

import contextlib
import errno
import os
import posixpath
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

NO_FILE = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EISDIR: "it is no file",
    errno.ENXIO: "it is no file",
    errno.ENOTDIR: "a part of its path is no folder",
    errno.ENAMETOOLONG: "its path is too long",
    errno.ELOOP: "it is a link to itself",
}
"""What is wrong with a path, by error number; none of these is the fault of the disk."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk that has no room."""


def opened(path: str) -> BinaryIO:
    """Open a regular file.

    Raises:
        IsADirectoryError: it is a folder, a pipe, which would be waited at for ever, or a device.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise IsADirectoryError(errno.EISDIR, path)
    return os.fdopen(handle, "rb")


def put(path: str, fill: Callable[[str], None], publish: Callable[[str], None]) -> None:
    """Fill a file beside `path` and publish it, and leave nothing of one that could not be filled."""
    os.makedirs(posixpath.dirname(path), exist_ok=True)
    part = f"{path}.{uuid.uuid4().hex[:12]}.part"
    try:
        fill(part)
        publish(part)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def copied(path: str | Path, part: str) -> None:
    """Copy a file to `part`."""
    shutil.copyfile(path, part)


def filled(part: str, data: bytes) -> None:
    """Write `data` to `part`, down to the disk."""
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def walk(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield files at or below `path` in key order; folders behind links are not entered, since links may make circles."""
    if os.path.isfile(path):
        with contextlib.suppress(FileNotFoundError):  # renamed or removed since it was listed
            found_file = os.stat(path)
            yield path, {"name": path, "size": found_file.st_size, "modified": found_file.st_mtime, "type": "file"}
    elif os.path.isdir(path):
        with os.scandir(path) as entries:
            found = sorted((entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name) for entry in entries)
        for name in found:
            if name.endswith("/") or os.path.isfile(os.path.join(path, name)):
                yield from walk(os.path.join(path, name.rstrip("/")))
