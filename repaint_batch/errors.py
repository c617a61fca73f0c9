"""Every error this package raises on purpose, drawn as one tree.

::

    RepaintBatchError
    ├── ConfigError          a setting that cannot be honoured; the command line exits with 2
    │   ├── PriorError       a network, checkpoint or class label that cannot be honoured
    │   └── BatchTooLarge    windows of a network call that the device's memory does not hold
    ├── ManifestError        a manifest refused before any work; the command line exits with 2
    ├── SampleError          one row that cannot be restored; becomes a ``failed`` row, never ends a job
    │   ├── UriRefused       the row points outside what the config allows
    │   ├── SourceMissing    the object does not exist or may not be read
    │   ├── ImageInvalid     bytes that are no picture, a truncated one, or one over the caps
    │   ├── MaskInvalid      a mask that does not fit its picture
    │   └── WorkerKilled     whatever this row does, it ends the process that works on it
    ├── ShardFailed          a shard whose attempts all raised; the last error is told
    ├── StorageError         the object store refused, or failed
    │   ├── NoBucket         the store has no such bucket; the command line exits with 2
    │   ├── NoSpace          a disk of ours is full; nothing was written, and waiting would not help
    │   └── StoreUnavailable it was waited for in vain: silent, or no longer accepts this client; no row's fault
    ├── CommitFailed         the results table certainly does not hold the rows
    ├── CommitUnknown        the results table may or may not hold the rows; committing them again finds out
    ├── LeaseHeld            another driver is running this job
    │   └── Fenced           and has committed since; whoever meets this commits nothing more
    ├── Stopped              told to stop before the end; the command line exits with 4
    │   └── Interrupted      by Ctrl-C; the command line exits with 130, as shells have it
    └── NothingToResume      the output holds no job to go on with

A message names what is wrong, where, and what to do about it, and never a secret: see `redact`. A bug raises something
else.
"""

import difflib
import re
from collections.abc import Iterable

_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+@")
_SECRET = re.compile(r"(?i)((?:secret|token|password|signature|access_?key)[\w-]*[\"']?\s*[=:]\s*[\"']?)([^\s\"'&,;]+)")
_FILE = re.compile(r"(?i)\.(?:png|jpe?g|tiff?|webp|bmp|gif|jp2|jxl|avif|heic|heif|parquet|csv|json|tar|npy)[.:)\]]?$")


def redact(text: str) -> str:
    """Return `text` without credentials in URIs and without the values of settings that are named like secrets.

    What ends as a file does is no secret but a path, as of ``token=7/a.png``: it stays, so that whoever looks for it can find it.
    """

    def masked(found: re.Match[str]) -> str:
        return found[0] if _FILE.search(found[2]) else f"{found[1]}***"

    return _SECRET.sub(masked, _CREDENTIALS.sub("***@", text))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` of the known word that is most like `word`, or nothing if none is."""
    close = difflib.get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


class RepaintBatchError(Exception):
    """Root of this package's errors."""


class ConfigError(RepaintBatchError):
    """A setting that cannot be honoured."""


class PriorError(ConfigError):
    """A network, checkpoint or class label that cannot be honoured."""


class BatchTooLarge(ConfigError):
    """A batch that the device's memory does not hold.

    Attributes:
        fits: windows that it does hold.
    """

    def __init__(self, message: str, fits: int) -> None:
        super().__init__(message, fits)
        self.fits = fits

    def __str__(self) -> str:
        return str(self.args[0])


class ManifestError(RepaintBatchError):
    """A manifest that is refused before any work is done."""


class SampleError(RepaintBatchError):
    """One row that cannot be restored."""


class UriRefused(SampleError):
    """A URI outside the allow-list of the config."""


class SourceMissing(SampleError):
    """An object that does not exist or may not be read."""


class ImageInvalid(SampleError):
    """Bytes that cannot be decoded as a picture within the caps."""


class MaskInvalid(SampleError):
    """A mask that does not fit its picture."""


class WorkerKilled(SampleError):
    """A row that ends the process that works on it."""


class ShardFailed(RepaintBatchError):
    """A shard whose attempts all raised."""


class StorageError(RepaintBatchError):
    """The object store refused, or failed."""


class NoBucket(StorageError):
    """A bucket that the store does not have."""


class NoSpace(StorageError):
    """A disk that is full."""


class StoreUnavailable(StorageError):
    """A store that was waited for in vain: it is silent, or no longer does for this client what it did before."""


class CommitFailed(RepaintBatchError):
    """The results table certainly does not hold the rows."""


class CommitUnknown(RepaintBatchError):
    """The results table may or may not hold the rows."""


class LeaseHeld(RepaintBatchError):
    """Another driver is running this job."""


class Fenced(LeaseHeld):
    """Another driver has committed under a later lease."""


class Stopped(RepaintBatchError):
    """The work was told to stop before its end; what is done stays done."""


class Interrupted(Stopped):
    """Ctrl-C while a job ran."""


class NothingToResume(RepaintBatchError):
    """The output holds no job to go on with."""
