"""Pictures and masks in folders, paired by name.

Order does not pair: ``a.png`` comes before ``aB.png``, but ``aB_mask.png`` before ``a_mask.png``. So both listings go
page by page into a table on local disk, and the pairs are asked of it; memory stays the same at any number of objects.
"""

import posixpath
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repaint_batch.errors import ManifestError, UriRefused
from repaint_batch.storage import Storage
from repaint_batch.uris import UriPolicy, normalise

_NEWER = (".jp2", ".j2k", ".jpx", ".jpf", ".jxl", ".avif", ".heic", ".heif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", *_NEWER)
"""Names of pictures end so; what ends otherwise is left aside."""
MASK_SUFFIXES = (*PICTURE_SUFFIXES, ".json")
"""Masks are pictures too, or boxes and polygons."""

_PLACES = ("path", "stem", "folder", "name", "suffix")
NAMED = 5
"""Offenders that are named."""
_RESIDENT = re.compile(
    r"(?i)(^|/)(\._[^/]*|@eaDir/.*|\.ipynb_checkpoints/.*|__MACOSX/.*|\.AppleDouble/.*|\.thumbnails/.*|[$#@]recycle(\.bin)?/.*"
    r"|\.Trash[^/]*/.*|\.git/.*|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.DS_Store|[^/]*_\$folder\$)$",
    re.DOTALL,
)
"""What systems and programs keep among pictures for themselves: previews, halves of files, deleted things, markers of folders."""


@dataclass
class Aside:
    """What a listing came by and did not take.

    Attributes:
        suffixes: how many files of each suffix that no picture or mask has.
        residents: files that systems and programs keep there for themselves.
        refused: files whose names or places cannot be used, with the reason, in the first few of them.
        refused_count: how many of those.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    residents: int = 0
    refused: list[str] = field(default_factory=list)
    refused_count: int = 0

    def __str__(self) -> str:
        parts = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in self.suffixes.most_common()]
        if self.residents:
            parts.append(f"{self.residents:,} that systems keep for themselves (._*, @eaDir, Thumbs.db, folder/ and the like)")
        if self.refused_count:
            parts.append(self.refusal())
        return ", ".join(parts)

    def refusal(self) -> str:
        """Return what is to be said of files that cannot be used."""
        more = "; ..." if self.refused_count > len(self.refused) else ""
        return f"{self.refused_count:,} that cannot be used: {'; '.join(self.refused)}{more}"


@dataclass(frozen=True)
class Unpaired:
    """What has no counterpart.

    Attributes:
        pictures: how many pictures have no mask.
        masks: how many masks belong to no picture.
        named_pictures: the first of them, as paths below their folder.
        named_masks: likewise.
    """

    pictures: int = 0
    masks: int = 0
    named_pictures: tuple[str, ...] = ()
    named_masks: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = []
        for count, what, names in (
            (self.pictures, "pictures without a mask", self.named_pictures),
            (self.masks, "masks without a picture", self.named_masks),
        ):
            if count:
                parts.append(f"{count:,} {what}: {', '.join(names)}{', ...' if count > len(names) else ''}")
        return "; ".join(parts)


def mask_path(pattern: str, path: str) -> str:
    """Return where the mask of the picture at `path` is, both relative to their folders.

    Args:
        pattern: may hold ``{path}``; ``{stem}``, the path without suffix; ``{folder}``; ``{name}``, the file's name without
            suffix; ``{suffix}``, with its dot. Without a picture's suffix at its end any will do, and none is returned.

    Raises:
        ManifestError: other braces.
    """
    unknown = [place for place in re.findall(r"\{([^}]*)\}", pattern) if place not in _PLACES]
    if unknown:
        known = ", ".join(f"{{{place}}}" for place in _PLACES)
        raise ManifestError(f"pattern {pattern!r}: {{{unknown[0]}}} is unknown; known: {known}")
    stem, suffix = posixpath.splitext(path)
    folder, slash, name = stem.rpartition("/")
    values = {"path": path, "stem": stem, "folder": folder, "name": name, "suffix": suffix}
    # A key may begin with a slash; one that only parts the name from no folder is none of its own.
    pattern = pattern.lstrip("/") if slash else pattern.replace("{folder}/", "").lstrip("/")
    return re.sub(r"\{([^}]*)\}", lambda match: values[match[1]], pattern)


class FolderPairs:
    """Pictures and masks of two folders or prefixes, paired.

    Args:
        images: folder or prefix of the pictures.
        masks: that of the masks; it may be the same one, or lie inside the other.
        pattern: where a picture's mask is, see `mask_path`.
        storage: how to reach them.
        scratch: empty local folder for the table.

    Attributes:
        aside: what else was there.

    Raises:
        ManifestError: there are no pictures, a picture would be its own mask, or a picture has several masks.
    """

    def __init__(self, images: str, masks: str, pattern: str, storage: Storage, scratch: Path) -> None:
        self._images, self._masks = normalise(images), normalise(masks)
        self.aside = Aside()
        self._exact = pattern.lower().endswith((*MASK_SUFFIXES, "{suffix}", "{path}"))
        self._db = sqlite3.connect(scratch / "pairs.sqlite")
        # The table is made to be thrown away: nothing of it has to survive a crash.
        self._db.executescript(
            "pragma journal_mode = off; pragma synchronous = off; pragma temp_store = file; pragma cache_size = -32768;"
            "create table pictures (path text primary key, uri text, key text, identity text) without rowid;"
            "create table masks (uri text primary key, path text, key text, identity text) without rowid;"
        )
        pictures = (
            (path, uri, mask_path(pattern, path), identity)
            for uri, path, identity in _listed(
                self._images, PICTURE_SUFFIXES, storage, Aside() if self._images == self._masks else self.aside, self._masks
            )
        )
        self._fill("insert into pictures values (?, ?, ?, ?)", pictures)
        masked = (
            (uri, path, path if self._exact else posixpath.splitext(path)[0], identity)
            for uri, path, identity in _listed(self._masks, MASK_SUFFIXES, storage, self.aside, self._images)
        )
        self._fill("insert into masks values (?, ?, ?, ?)", masked)
        self._db.execute("create index mask_keys on masks (key)")
        self._settle()

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """Yield (path below the pictures' folder, URI of the picture, URI of the mask) in the order of the paths."""
        yield from self._db.execute(
            "select p.path, p.uri, m.uri from pictures p join masks m on m.key = p.key order by p.path"
        )

    def identified(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Yield the pairs as before, and after each its identities: what changes with the picture and with the mask."""
        yield from self._db.execute(
            "select p.path, p.uri, m.uri, p.identity, m.identity from pictures p join masks m on m.key = p.key order by p.path"
        )

    def unpaired(self) -> Unpaired:
        """Return what has no counterpart."""
        lone = "from pictures where key not in (select key from masks)"
        pictures, named_pictures = self._counted("path", lone)
        if self._images == self._masks:  # every file there that is nobody's mask is a picture
            return Unpaired(pictures, 0, named_pictures)
        masks, named_masks = self._counted("path", "from masks where key not in (select key from pictures)")
        return Unpaired(pictures, masks, named_pictures, named_masks)

    def lone(self) -> Iterator[tuple[str, str]]:
        """Yield (what is the matter, path below its folder) of everything without a counterpart."""
        yield from self._db.execute(
            "select 'picture without a mask', path from pictures where key not in (select key from masks) order by path"
        )
        if self._images != self._masks:
            yield from self._db.execute(
                "select 'mask without a picture', path from masks where key not in (select key from pictures) order by path"
            )

    def close(self) -> None:
        """Let go of the table."""
        self._db.close()

    def _fill(self, insert: str, rows: Iterator[tuple[str, ...]]) -> None:
        self._db.executemany(insert, rows)
        self._db.commit()

    def _settle(self) -> None:
        own = self._db.execute(
            "select p.path from pictures p join masks m on m.key = p.key and m.uri = p.uri limit 1"
        ).fetchone()
        if own:
            raise ManifestError(f"{own[0]} would be its own mask; say with --pattern how masks are named, e.g. {{stem}}_mask")
        if self._images == self._masks:
            claimed = "select m.uri from masks m where m.key in (select key from pictures)"
            self._db.execute(f"delete from pictures where uri in ({claimed})")
        if not self._db.execute("select 1 from pictures limit 1").fetchone():
            raise ManifestError(f"{self._images}: no pictures there ({', '.join(PICTURE_SUFFIXES)}); check --images")
        several = self._db.execute(
            "select p.path, min(m.path), max(m.path) from pictures p join masks m on m.key = p.key "
            "group by p.path having count(*) > 1 limit 1"
        ).fetchone()
        if several:
            raise ManifestError(f"{several[0]} has two masks, {several[1]} and {several[2]}; name the suffix in --pattern")

    def _counted(self, column: str, what: str) -> tuple[int, tuple[str, ...]]:
        (count,) = self._db.execute(f"select count(*) {what}").fetchone()
        names = self._db.execute(f"select {column} {what} order by {column} limit {NAMED}").fetchall()
        return count, tuple(name for (name,) in names)


def listed_pictures(folder: str, storage: Storage, aside: Aside) -> Iterator[tuple[str, str]]:
    """Yield (path below the folder, URI) of every picture in a folder or prefix, in the store's order; count all else."""
    for path, uri, _ in identified_pictures(folder, storage, aside):
        yield path, uri


def identified_pictures(folder: str, storage: Storage, aside: Aside) -> Iterator[tuple[str, str, str]]:
    """Yield the same, and after each its identity, see `identity_of`."""
    for uri, path, identity in _listed(normalise(folder), PICTURE_SUFFIXES, storage, aside):
        yield path, uri, identity


def _listed(
    folder: str, suffixes: tuple[str, ...], storage: Storage, aside: Aside, without: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield (URI, path below `folder`, identity) of what ends in `suffixes`, but not what lies in `without` inside it."""
    apart, policy = f"{without}/" if without.startswith(f"{folder}/") else None, UriPolicy(folder)
    for uri, info in storage.walk(folder, markers=True):
        if apart and uri.startswith(apart):
            continue
        path = uri[len(folder) + 1 :] or posixpath.basename(uri)
        if _RESIDENT.search(path) or uri.endswith("/"):
            aside.residents += 1
        elif not uri.lower().endswith(suffixes):
            aside.suffixes[posixpath.splitext(path)[1].lower()] += 1
        elif reason := _refusal(uri, path, policy):
            aside.refused_count += 1
            aside.refused += [reason] if len(aside.refused) < NAMED else []
        else:
            yield uri, path, identity_of(info)


def _refusal(uri: str, path: str, policy: UriPolicy) -> str | None:
    """Return why a row could not name an object that is there."""
    try:
        return None if policy.resolve(uri) == uri else f"{path!r}: its name means another place"
    except UriRefused as error:
        return str(error)


def identity_of(info: dict[str, Any]) -> str:
    """Return what changes with an object's contents, as far as its store tells unread: size and ETag, or time of change."""
    tag = str(info.get("ETag") or "").strip('"')
    return f"{info['size']}-{tag or repr(info['modified'])}"
