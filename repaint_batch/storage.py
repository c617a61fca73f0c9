"""Objects on local disk or S3, addressed by URI, through filesystems that the config alone decides.

Rows of a manifest come from strangers, and pass `repaint_batch.uris.UriPolicy` before anything here reads what they name.

Credentials come from the environment or the usual AWS chain and are never part of a URI.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec
import pyarrow.fs

from repaint_batch import disk
from repaint_batch.config import StorageConfig, checked_endpoint
from repaint_batch.errors import ConfigError, NoBucket, NoSpace, SourceMissing, StorageError, redact
from repaint_batch.uris import is_s3, path_of, refuse_escape

if TYPE_CHECKING:
    from repaint_batch.s3.objects import S3Objects

_OPEN_FILES = "/proc/self/fd"
_T = TypeVar("_T")


class Storage:
    """Bytes by URI. Cheap to make and to pickle; all that are configured alike share one connection in a process.

    An object store that is away is waited for, see `repaint_batch.patience`; that can be interrupted.

    Args:
        config: how to reach a store.
        served: URIs of objects that other processes of the same job have read with the same config, such as its manifest. By
            them a process that has read nothing yet tells one object that may not be read from credentials that were revoked.
        first_s: most seconds for which a store is waited for that has never answered this process: somebody sits and waits, and
            its address may have a typo. A copy in another process has all patience. None: as any store.
    """

    def __init__(
        self, config: StorageConfig | None = None, served: Sequence[str] = (), first_s: float | None = None
    ) -> None:
        self.config, self.served, self._first_s = config or StorageConfig(), tuple(served), first_s

    @property
    def endpoint_url(self) -> str | None:
        """S3 endpoint: the config's, otherwise AWS_ENDPOINT_URL, otherwise AWS's own.

        Raises:
            ConfigError: the variable holds no URL.
        """
        if self.config.endpoint_url:
            return self.config.endpoint_url
        url = os.environ.get("AWS_ENDPOINT_URL") or None
        try:
            return url if url is None else checked_endpoint(url)
        except ValueError as error:
            raise ConfigError(f"AWS_ENDPOINT_URL: {error} (got {redact(url or '')!r:.80})") from error

    def __reduce__(self) -> tuple[type["Storage"], tuple[StorageConfig, tuple[str, ...]]]:
        # What this process was served vouches for the store where the copy goes.
        known = self._s3.witnesses() if "_s3" in self.__dict__ else []
        return (Storage, (self.config, (*self.served, *(f"s3://{path}" for path in known))))

    def configured(self, config: StorageConfig) -> "Storage":
        """Return what reaches a store as `config` says, and waits for it as this does."""
        return Storage(config, self.served, self._first_s)

    @property
    def impatient(self) -> "Storage":
        """The same, which waits for nothing: for whoever has no time, or waits elsewhere."""
        return Storage(self.config.model_copy(update={"patience_s": 0.0}), self.served)

    @cached_property
    def _s3(self) -> "S3Objects":
        from repaint_batch.s3.client import client_of  # a second that whoever has local files need not wait
        from repaint_batch.s3.objects import S3Objects

        client = client_of(self.endpoint_url, self.config.region)
        client.vouch(path_of(uri) for uri in self.served if is_s3(uri))
        return S3Objects(client, self.config.patience_s, is_protected=self.is_protected("s3://"), first_s=self._first_s)

    @cached_property
    def _local(self) -> Any:
        return fsspec.filesystem("file", auto_mkdir=True, use_listings_cache=False)

    def is_protected(self, uri: str) -> bool:
        """Return whether what is read at `uri` arrives as it was sent: local files do, and S3 over TLS."""
        return not (is_s3(uri) and (self.endpoint_url or "").startswith("http://"))

    def arrow(self, uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return pyarrow's view of the same filesystem, and the path in it."""
        if is_s3(uri):
            return self._s3.arrow(), path_of(uri)
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(self._local)), path_of(uri)

    def read(self, uri: str, max_bytes: int | None = None, *, within: str | None = None) -> bytes:
        """Return the object's bytes.

        Args:
            uri: where it is.
            max_bytes: most that it may have.
            within: folder that a local file must lie in, once it is open and whatever links led to it.

        Raises:
            UriRefused: it does not lie there.
            SourceMissing: it does not exist, may not be read, or is larger than `max_bytes`.
            StoreUnavailable: the store was away for as long as there was patience.
            StorageError: the disk failed.
        """

        def check_size(size: int) -> None:
            if max_bytes is not None and size > max_bytes:
                raise SourceMissing(f"{uri}: {size} bytes, more than the {max_bytes} that images.max_bytes allows")

        path = path_of(uri)
        try:
            if is_s3(uri):
                return self._s3.read(path, check_size)
            with disk.opened(path) as file:
                if within is not None and os.path.exists(_OPEN_FILES):
                    refuse_escape(f"{_OPEN_FILES}/{file.fileno()}", path, within)
                check_size(os.fstat(file.fileno()).st_size)
                return file.read()
        except FileNotFoundError as error:
            raise SourceMissing(f"{uri}: no such object") from error
        except OSError as error:
            if error.errno in disk.NO_FILE or (is_s3(uri) and isinstance(error, PermissionError)):
                raise SourceMissing(f"{uri}: may not be read ({disk.NO_FILE.get(error.errno or 0, error)})") from error
            raise StorageError(f"{uri}: read failed: {error}") from error

    def write(self, uri: str, data: bytes) -> None:
        """Put `data` at `uri` in one request; a reader sees all of it or nothing."""
        path = path_of(uri)
        with _telling(uri, "write"):
            if is_s3(uri):
                self._s3.write(path, data)
                return
            disk.put(path, lambda part: disk.filled(part, data), lambda part: os.replace(part, path))

    def upload(self, uri: str, path: str | Path) -> None:
        """Put the local file `path` at `uri`, whatever its size; a reader sees all of it or nothing."""
        target = path_of(uri)
        with _telling(uri, "write"):
            if is_s3(uri):
                self._s3.upload(target, str(path))
                return
            disk.put(target, lambda part: disk.copied(path, part), lambda part: os.replace(part, target))

    def create(self, uri: str, data: bytes) -> bool:
        """Put `data` at `uri` unless something is there; return whether it was this call that did.

        Where the store's answer was lost, False may mean that it was this call after all: read it, if that matters. `data`
        must not be empty: s3fs overwrites silently with nothing.
        """
        if not data:
            raise ValueError("an empty object cannot be created exclusively")
        path = path_of(uri)
        with _telling(uri, "write"):
            if is_s3(uri):
                return self._s3.create(path, data)
            try:  # a link to a finished file, so that nobody sees it half-written
                disk.put(path, lambda part: disk.filled(part, data), lambda part: os.link(part, path))
            except FileExistsError:
                return False
            return True

    def check_bucket(self, uri: str) -> None:
        """Ask the store that holds `uri` for a page of its keys; a local path is not looked at.

        Raises:
            NoBucket: it has no such bucket.
            StorageError: it does not answer, or refuses.
        """
        if is_s3(uri):
            next(self.walk(uri), None)

    def exists(self, uri: str) -> bool:
        """Return whether an object or folder is at `uri`."""
        with _telling(uri, "look"):
            return self._s3.exists(path_of(uri)) if is_s3(uri) else os.path.exists(path_of(uri))

    def list(self, uri: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (URI, info) of every object at or below `uri`, in key order; nothing where there is nothing.

        All keys are held in memory; `walk` holds a page of them.
        """
        yield from sorted(self.walk(uri), key=lambda found: found[0])

    def walk(self, uri: str, *, markers: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (URI, info) of every object at or below `uri` while the store lists them, in its own order.

        Folders are no objects, and neither are keys that end in ``/``, with which some tools mark folders, unless `markers`
        asks for them. The order is
        that of the keys on AWS; other stores list folder by folder, so that ``a/1`` may come before ``a-b``. The info has
        ``name``, ``size`` in bytes and ``modified`` in seconds since 1970, by the store's clock.
        """
        if not is_s3(uri):
            yield from disk.walk(path_of(uri))
            return
        with _telling(uri, "listing"):
            for found in self._s3.walk(path_of(uri), markers):
                yield f"s3://{found['name']}", found

    def delete(self, uri: str) -> None:
        """Remove the object at `uri`; nothing happens where there is none."""
        with _telling(uri, "delete"), contextlib.suppress(FileNotFoundError):
            if is_s3(uri):
                self._s3.delete(path_of(uri))
            else:
                os.unlink(path_of(uri))

    def patiently(self, uri: str, action: str, call: Callable[[], _T]) -> _T:
        """Return what `call` does, which reaches `uri` by deltalake; a store that is away is waited for as by everything here.

        Only the words of its errors tell what ails the store. Errors that do not, and answers such as a missing table, are
        raised as they are.

        Args:
            uri: what it reaches.
            action: ``read``, ``write``, ``listing`` or ``delete``.
            call: may be called many times, and opens what it needs anew each time: credentials may have been renewed.

        Raises:
            StoreUnavailable: the store was away for as long as there was patience.
        """
        return self._s3.ask(action, path_of(uri), lambda _: call(), by_words=True) if is_s3(uri) else call()

    def delta_options(self) -> dict[str, str]:
        """Return the storage options that deltalake needs for the same store."""
        # A store holds what arrives against its checksum; without one it keeps what was damaged on the way.
        options = {"AWS_CHECKSUM_ALGORITHM": "SHA256"}
        # Whoever calls it waits for the store; without these, one call waits for three minutes where packets vanish.
        options |= {"max_retries": "3", "retry_timeout": "20s"}
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            os.environ.setdefault("SSL_CERT_FILE", bundle)  # the one name that deltalake knows for it
        if self.endpoint_url:
            options["AWS_ENDPOINT_URL"] = self.endpoint_url
            if self.endpoint_url.startswith("http://"):
                options["AWS_ALLOW_HTTP"] = "true"
        if self.config.region:
            options["AWS_REGION"] = self.config.region
        return options


@contextlib.contextmanager
def _telling(uri: str, action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_s3(uri) and "NoSuchBucket" in str(error):
            bucket = path_of(uri).partition("/")[0]
            raise NoBucket(f"{uri}: the store has no bucket {bucket}; check its name and the endpoint, or make it") from error
        if error.errno in disk.FULL and not is_s3(uri):
            raise NoSpace(no_space(uri)) from error
        raise StorageError(f"{uri}: {action} failed: {error}") from error


def no_space(uri: str) -> str:
    """Return what to say where the disk that holds `uri` is full."""
    folder = Path(path_of(uri))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"no space left for {uri}: {free:,.1f} MiB are free on the disk of {folder}; make room there. Nothing is lost: "
        "the same command again, or `repaint-batch run OUTPUT`, goes on"
    )
