"""URIs: what they name, and what strangers may name by them.

A URI is ``s3://bucket/key``, ``file:///path`` or a plain path. A key is taken as it stands, with whatever ``#``, ``?`` or ``%``
is in it; ``file:`` URIs are percent-decoded, as `Path.as_uri` writes them. Rows of a manifest come from strangers: they pass
`UriPolicy` first, which knows no other scheme, no credentials, no other machine, no ``..`` and no prefix outside the allow-list.
fsspec and pyarrow would obey all of these if a URI reached them unchecked.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote_to_bytes

from repaint_batch.errors import ConfigError, UriRefused

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")


def scheme_of(uri: str) -> str:
    """Return ``s3`` or ``file``.

    Raises:
        UriRefused: any other scheme, a chained URI, credentials, or a name that no store can hold.
    """
    match = _SCHEME.match(uri)
    scheme = match.group(1).lower() if match else "file"
    if scheme not in ("s3", "file"):
        advice = "" if "://" in uri or "::" in uri else "; of a file that is called so, write ./ in front"
        raise UriRefused(f"{uri!r:.200}: only s3:// and local paths are read{advice}")
    if "\0" in uri or not _is_text(uri):
        raise UriRefused(f"{uri!r:.200}: its name is not UTF-8, or holds NUL; rename it")
    if scheme == "s3" and (not uri.startswith("s3://") or re.search(r"[@:?#]", uri[5:].split("/")[0])):
        raise UriRefused("an s3 URI must be s3://bucket/key, without credentials, host or port")
    if scheme == "s3" and "?versionId=" in uri:
        raise UriRefused(f"{uri!r:.200}: versions of objects are not read; copy that one to a key of its own")
    return scheme


def _is_text(uri: str) -> bool:
    try:
        uri.encode()
    except UnicodeEncodeError:  # bytes of a local name that are no text stand there as surrogates
        return False
    return True


def is_s3(uri: str) -> bool:
    """Return whether a normalised URI is one of S3."""
    return uri.startswith("s3://")


def join(base: str, *parts: str) -> str:
    """Return `base` with `parts` appended, ``/`` between."""
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def normalise(uri: str) -> str:
    """Return an ``s3://`` URI or an absolute local path, without ``.``, ``..`` or doubled slashes in local paths."""
    return uri.rstrip("/") if scheme_of(uri) == "s3" else os.path.abspath(local_path(uri))


def local_path(uri: str) -> str:
    """Return the path that a ``file:`` URI names; a plain path is what it is.

    Raises:
        UriRefused: it is on another machine, or relative.
    """
    if uri[:5].lower() != "file:":
        return uri
    host, slash, path = uri[7:].partition("/") if uri.startswith("//", 5) else ("", uri[5:6], uri[6:])
    if host.lower() not in ("", "localhost") or slash != "/":
        raise UriRefused(f"{uri!r:.200}: a file URI must be file:///path, on this machine")
    decoded = os.fsdecode(unquote_to_bytes(f"/{path}"))
    scheme_of(decoded)
    return decoded


def path_of(uri: str) -> str:
    """Return ``bucket/key``, or an absolute path."""
    return uri.removeprefix("s3://") if scheme_of(uri) == "s3" else normalise(uri)


def delta_uri(uri: str) -> str:
    """Return what deltalake, which takes URIs apart as the web does, must be given for a normalised `uri`.

    Raises:
        ConfigError: it cannot be told of such a place.
    """
    never = r"[\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}" + (r"|(?<!:)//" if is_s3(uri) else r"|[\[\]\\^|]")
    found = re.search(never, uri)
    if found:
        raise ConfigError(f"{uri!r:.200}: a Delta table cannot be kept in a folder with {found[0]!r} in its path; choose another")
    return f"s3://{quote(path_of(uri))}" if is_s3(uri) else uri


class Reader(Protocol):
    """Whoever reads objects, see `repaint_batch.storage.Storage`."""

    def read(self, uri: str, max_bytes: int | None = None, *, within: str | None = None) -> bytes:
        """Return an object's bytes."""


@dataclass(frozen=True)
class UriPolicy:
    """What a manifest's rows may name.

    Attributes:
        base: folder or prefix that relative URIs start from (the manifest's own).
        allow: normalised prefixes that may be read; `base` is always among them.
    """

    base: str
    allow: tuple[str, ...] = ()

    def resolve(self, uri: str) -> str:
        """Return the absolute URI of a row's `uri`.

        Raises:
            UriRefused: it leaves the allow-list; the message names the prefix to allow.
        """
        return self._admitted(uri)[0]

    def read(self, uri: str, storage: Reader, max_bytes: int | None = None) -> bytes:
        """Return the bytes of what a row names, see `resolve` and `Storage.read`.

        Of a local file it is the open file that is checked once more: a link could have been put there in between.
        """
        absolute, prefix = self._admitted(uri)
        return storage.read(absolute, max_bytes, within=prefix)

    def _admitted(self, uri: str) -> tuple[str, str]:
        """Return the absolute URI, and the prefix that allows it."""
        scheme = scheme_of(uri)
        named = uri if scheme == "s3" else local_path(uri)
        if ".." in re.split(r"[/\\]", named):
            raise UriRefused(f"{uri!r:.200}: '..' is not allowed in a URI")
        is_absolute = scheme == "s3" or named.startswith("/")
        absolute = normalise(named if is_absolute else join(self.base, named.removeprefix("./")))
        for prefix in (self.base, *self.allow):
            if absolute.startswith(prefix.rstrip("/") + "/"):
                if not is_s3(absolute):
                    refuse_escape(absolute, absolute, prefix)
                return absolute, prefix
        if scheme == "file" and is_absolute and is_s3(self.base):
            raise UriRefused(f"{uri!r:.200} is a path on this machine, and the manifest lies at {self.base}; write the s3:// URI")
        raise UriRefused(f"{uri!r:.200} is outside {self.base}; add its prefix to storage.allow to read it")


def refuse_escape(path: str, absolute: str, prefix: str) -> None:
    """Raise UriRefused if `path`, which stands for what is called `absolute`, is outside `prefix` once links are followed."""
    if not Path(path).resolve().is_relative_to(Path(prefix).resolve()):
        raise UriRefused(f"{absolute!r:.200} is a link that leaves {prefix}")
