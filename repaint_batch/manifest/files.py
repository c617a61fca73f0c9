"""Which files a manifest consists of.

Folders are taken as Spark, Hive and pyarrow write them: what begins with ``_`` or ``.`` is none of the table's own (markers of
success, checksums, attempts that were never committed), and a folder called ``name=value`` gives all rows below it a column.
"""

import posixpath
from collections import Counter
from urllib.parse import unquote

from repaint_batch.errors import ManifestError
from repaint_batch.storage import Storage

Partition = dict[str, str | None]
"""Columns by name, each with the value of all rows."""

_NULL = "__HIVE_DEFAULT_PARTITION__"
_SUFFIX = ".parquet"
_SAID = 5


def find_files(
    uri: str, storage: Storage, suffixes: tuple[str, ...] = (_SUFFIX,), setting: str = "input.manifest"
) -> tuple[str, list[tuple[str, Partition]]]:
    """Return the folder or prefix that relative URIs start from, and a table's files in key order.

    Args:
        uri: normalised, of a file, or of a folder or prefix, which may be called like a file.
        storage: how to reach it.
        suffixes: of its files.
        setting: what said where it is.

    Raises:
        ManifestError: there is none; it says what is there instead.
    """
    found, aside = [], Counter[str]()
    for each, _ in storage.walk(uri):
        if each == uri and uri.lower().endswith(suffixes):
            return uri.rpartition("/")[0], [(uri, {})]
        *folders, name = each[len(uri) + 1 :].split("/")
        if any(part.startswith(("_", ".")) and "=" not in part for part in (*folders, name)):
            continue
        if name.lower().endswith(suffixes):
            found.append((each, _partition(folders)))
        else:
            aside[posixpath.splitext(each)[1].lower()] += 1
    if not found:
        what = "Parquet manifest" if suffixes == (_SUFFIX,) else "Parquet file"
        raise ManifestError(f"{uri}: no {what} there{_instead(aside)}; check {setting}")
    return uri, sorted(found, key=lambda file: file[0])


def _partition(folders: list[str]) -> Partition:
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(name): None if value == _NULL else unquote(value) for name, _, value in pairs}


def _instead(aside: Counter[str]) -> str:
    for suffix, what, option in ((".arrow", "Arrow files", "--parquet"), (".csv", "CSV", "--csv"), (".tsv", "CSV", "--csv")):
        if aside[suffix]:
            return f", but {what}, of which `repaint-batch manifest build {option}` makes one"
    kinds = [f"{count} {suffix or 'without suffix'}" for suffix, count in aside.most_common(_SAID)]
    return f" (it has {', '.join(kinds)})" if kinds else ""
