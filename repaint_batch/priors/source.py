"""Where a prior's files are: in the package, in a folder, below an object-store prefix, or on the Hugging Face hub.

All of them end as a local folder or file. Objects are kept below ``$XDG_CACHE_HOME/repaint-batch/priors``, under a name
made from their addresses, sizes and ETags, so that a changed object is fetched again and a half-fetched one never used.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from repaint_batch.config import fingerprint
from repaint_batch.errors import PriorError
from repaint_batch.storage import Storage

BUNDLED = {"photo": "photo64", "emoji": "emoji32"}
"""Names after ``bundled:``, and their folders in the package's assets."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_S = 5.0  # for the hub's first answer
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TEXTS, _SAFE, _PICKLED = (".json", ".md"), (".safetensors",), (".pt", ".pth", ".bin")


def locate(source: str, revision: str | None, storage: Storage, *, allow_pickle: bool = False) -> Path:
    """Return the local folder or file that `source` means, fetched if need be.

    Raises:
        PriorError: there is nothing at `source`, or a hub id lacks a commit hash.
    """
    if source.startswith("bundled:"):
        name = source.removeprefix("bundled:")
        if name not in BUNDLED:
            raise PriorError(f"prior.source: {source!r} is not among the bundled priors ({', '.join(BUNDLED)})")
        return Path(__file__).parents[1] / "assets" / BUNDLED[name]
    suffixes = _TEXTS + _SAFE + (_PICKLED if allow_pickle else ())
    if source.startswith("s3://"):
        return _fetched(source, storage, suffixes)
    path = Path(source.removeprefix("file://"))
    if path.exists():
        return path
    if _HUB_ID.fullmatch(source) and not source.startswith("file:"):
        return _from_hub(source, revision, suffixes)
    raise PriorError(
        f"prior.source: there is no folder or file {path.absolute()}; check the path. A prior is also "
        "bundled:photo, an s3:// prefix, or a hub id owner/name with its prior.revision"
    )


def check_named(source: str, revision: str | None) -> None:
    """Refuse what names no prior, as far as that shows without asking a store or the hub.

    Raises:
        PriorError: there is nothing of that name here, or a hub id lacks a commit hash.
    """
    is_pinned_id = bool(_HUB_ID.fullmatch(source) and revision and _COMMIT.fullmatch(revision))
    if not source.startswith("s3://") and not is_pinned_id:
        locate(source, revision, Storage())


def _fetched(uri: str, storage: Storage, suffixes: tuple[str, ...]) -> Path:
    objects = [(key, info) for key, info in storage.list(uri) if key.lower().endswith(suffixes)]
    if not objects:
        raise PriorError(f"prior.source: nothing at {uri} ends in {', '.join(suffixes)}")
    is_file = objects[0][0] == uri
    if is_file:  # and the card beside it
        objects += storage.list(f"{uri.rpartition('.')[0]}.json")
    name = fingerprint(uri, [(key, info.get("size"), info.get("ETag")) for key, info in objects])
    base = uri.rsplit("/", 1)[0] if is_file else uri.rstrip("/")
    folder = cache_folder() / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{name}-"))
        try:
            for key, _ in objects:
                target = part / key.removeprefix(base).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(storage.read(key))
            try:
                part.rename(folder)
            except OSError:  # another process was first
                if not folder.exists():
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder / uri.rsplit("/", 1)[1] if is_file else folder


def cache_folder() -> Path:
    """Return the folder that fetched priors are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repaint-batch" / "priors"


def _from_hub(repo: str, revision: str | None, suffixes: tuple[str, ...]) -> Path:
    if revision is None or not _COMMIT.fullmatch(revision):
        given = f"prior.revision {revision!r} is none; branches and tags move" if revision else "prior.revision is not set"
        raise PriorError(
            f"prior.source: there is no folder or file {Path(repo).absolute()}; check the path. If {repo} is meant as an id of "
            f"the Hugging Face hub, it needs a commit of 40 hex digits: {given}"
        )
    from huggingface_hub import HfApi, snapshot_download  # slow to import, and most priors are not on the hub

    no_answer: Exception | None = None
    try:  # once: the fetch itself would try for half a minute
        HfApi().repo_info(repo, revision=revision, timeout=_HUB_S)
    except Exception as error:  # the hub's client has some twenty kinds; each is the same refusal here
        no_answer = error
    try:  # what was fetched before needs no hub
        patterns = [f"*{suffix}" for suffix in suffixes]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=no_answer is not None))
    except Exception as error:
        what = f"prior.source: {repo} at {revision} cannot be fetched from the hub: {no_answer or error}"
        raise PriorError(f"{what}; fetch it where there is a network, and name the folder") from error
