"""Whether an output may be written, found out before a run does."""

import os
import uuid
from pathlib import Path

from repaint_batch.errors import ConfigError, NoBucket, StorageError, StoreUnavailable
from repaint_batch.storage import Storage
from repaint_batch.uris import join, normalise


def check_writable(output: str, storage: Storage) -> None:
    """Put a small object into an output on S3 and take it away again; look at the permissions of a folder.

    Raises:
        ConfigError: it may not be written.
        NoBucket, StoreUnavailable: there is no such place, or nobody answers there.
    """
    uri = normalise(output)
    if uri.startswith("s3://"):
        probe = join(uri, "jobs", f"{uuid.uuid4().hex}.probe")
        try:
            next(storage.walk(join(uri, "jobs")), None)  # some stores make the bucket that is written to
            storage.write(probe, b"?")
            storage.delete(probe)
        except (NoBucket, StoreUnavailable):
            raise
        except StorageError as error:
            raise ConfigError(f"output.uri: {uri} cannot be written: {error}") from error
        return
    folder = Path(uri)
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"output.uri: {uri} cannot be written: {folder} is not a folder that this user may write to")
