"""The directories of a TIFF file as bytes to be edited: entries are changed or taken out, everything else stays in its place.

Source: TIFF revision 6.0 (Adobe 1992), section 2; BigTIFF as libtiff writes it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

SUB_IFDS, EXIF, GPS, INTEROPERABILITY = 330, 34665, 34853, 40965
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
SHORT, LONG, LONG8 = 3, 4, 16
_MOST_ENTRIES = 4096


@dataclass
class Entry:
    """One tag of a directory.

    Attributes:
        tag: its number.
        kind: type of its values.
        count: how many there are.
        at: where in the file the values lie.
    """

    tag: int
    kind: int
    count: int
    at: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return _SIZES.get(self.kind, 1) * self.count


@dataclass
class Directory:
    """An image file directory.

    Attributes:
        at: where it begins.
        entries: by tag.
        room: most entries that fit where it lies.
        next: where the next one begins; 0: there is none.
    """

    at: int
    entries: dict[int, Entry]
    room: int
    next: int


class TiffBytes:
    """A TIFF file, classic or big, either end first, being edited.

    Raises:
        ValueError, struct.error: its first bytes or a directory are none.
    """

    def __init__(self, data: bytes) -> None:
        self.file = bytearray(data)
        self.order = {b"II": "<", b"MM": ">"}[data[:2]]
        (version,) = self._unpack("H", 2)
        if version not in (42, 43):
            raise ValueError("not a TIFF file")
        self.big = version == 43
        self._first_at = 8 if self.big else 4
        self._offset, self._count, self._entry = ("Q", "Q", "HHQQ") if self.big else ("I", "H", "HHII")
        self._inline = 8 if self.big else 4

    def _unpack(self, format: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + format, self.file, at)

    def pack(self, format: str, *values: int) -> bytes:
        """Return numbers in the file's byte order."""
        return struct.pack(self.order + format, *values)

    def directory(self, at: int) -> Directory:
        """Return the directory at an offset."""
        (count,) = self._unpack(self._count, at)
        if count > _MOST_ENTRIES:
            raise ValueError(f"a directory of {count} entries")
        head, size = struct.calcsize("=" + self._count), struct.calcsize("=" + self._entry)
        entries: dict[int, Entry] = {}
        for number in range(count):
            start = at + head + number * size
            tag, kind, values, _ = self._unpack(self._entry, start)
            entry = Entry(tag, kind, values, start + size - self._inline)
            if entry.size > self._inline:
                entry.at = self._unpack(self._offset, entry.at)[0]
            if entry.at + entry.size > len(self.file):
                raise ValueError(f"the values of tag {tag} lie outside the file")
            entries.setdefault(tag, entry)
        (following,) = self._unpack(self._offset, at + head + count * size)
        return Directory(at, entries, count, following)

    def pages(self) -> list[Directory]:
        """Return the directories that are chained to one another."""
        found: dict[int, Directory] = {}
        (at,) = self._unpack(self._offset, self._first_at)
        while at and at not in found:
            found[at] = self.directory(at)
            at = found[at].next
        return list(found.values())

    def numbers(self, directory: Directory, tag: int) -> list[int]:
        """Return the values of a tag of whole numbers; none if it is missing or of another type."""
        entry = directory.entries.get(tag)
        if entry is None or entry.kind not in _FORMATS:
            return []
        return list(self._unpack(f"{entry.count}{_FORMATS[entry.kind]}", entry.at))

    def value(self, entry: Entry) -> bytes:
        """Return the bytes of a tag's values."""
        return bytes(self.file[entry.at : entry.at + entry.size])

    def append(self, data: bytes) -> int:
        """Return where `data` lies, once added to the file's end at an even offset."""
        self.file += b"\0" * (len(self.file) % 2)
        self.file += data
        return len(self.file) - len(data)

    def blank(self, at: int, size: int) -> None:
        """Fill bytes with zeros."""
        end = min(at + size, len(self.file))
        self.file[at:end] = bytes(max(end - at, 0))

    def set_value(self, directory: Directory, tag: int, kind: int, value: bytes) -> None:
        """Give a tag other values: where the old ones were if they fit, at the file's end otherwise."""
        old = directory.entries.get(tag)
        count = len(value) // _SIZES[kind]
        if old is not None and max(old.size, self._inline) >= len(value) and (old.size > self._inline) == (
            len(value) > self._inline
        ):
            at = old.at
            self.file[at : at + old.size] = value.ljust(old.size, b"\0")
        else:
            if old is not None:
                self.blank(old.at, old.size)
            at = self.append(value) if len(value) > self._inline else -1
        directory.entries[tag] = Entry(tag, kind, count, at)
        self._write(directory, {tag: value} if at < 0 else {})

    def set_numbers(self, directory: Directory, tag: int, values: list[int]) -> None:
        """Give a tag whole numbers, of the type that it has if they fit and of a wider one if not."""
        entry = directory.entries.get(tag)
        kind = entry.kind if entry is not None and entry.kind in _FORMATS else LONG
        if max(values, default=0) >= 256 ** _SIZES[kind]:
            kind = LONG8 if self.big else LONG
        self.set_value(directory, tag, kind, self.pack(f"{len(values)}{_FORMATS[kind]}", *values))

    def remove(self, directory: Directory, tags: Iterable[int]) -> None:
        """Take tags out of a directory, and blank their values."""
        for tag in tags:
            entry = directory.entries.pop(tag, None)
            if entry is not None and entry.size > self._inline:
                self.blank(entry.at, entry.size)
        self._write(directory, {})

    def rewrite(self, directory: Directory) -> None:
        """Write a directory whose `next` has been changed."""
        self._write(directory, {})

    def set_first(self, at: int) -> None:
        """Let the file begin with the directory at an offset."""
        struct.pack_into(self.order + self._offset, self.file, self._first_at, at)

    def _write(self, directory: Directory, inline: dict[int, bytes]) -> None:
        entries = sorted(directory.entries.values(), key=lambda entry: entry.tag)
        # Values that lie in the directory move with their entries: they are read before anything is written.
        values = {
            entry.tag: inline.get(entry.tag) or self.value(entry) for entry in entries if entry.size <= self._inline
        }
        head, size = struct.calcsize("=" + self._count), struct.calcsize("=" + self._entry)
        parts = [self.pack(self._count, len(entries))]
        for entry in entries:
            parts.append(self.pack(self._entry[:-1], entry.tag, entry.kind, entry.count))
            value = values.get(entry.tag)
            parts.append(self.pack(self._offset, entry.at) if value is None else value.ljust(self._inline, b"\0"))
        parts.append(self.pack(self._offset, directory.next))
        written = b"".join(parts)
        room = head + directory.room * size + struct.calcsize("=" + self._offset)
        if len(written) > room:
            self._move(directory, self.append(written))
            directory.room = len(entries)
        else:
            self.file[directory.at : directory.at + room] = written.ljust(room, b"\0")
        for number, entry in enumerate(entries):
            if entry.tag in values:
                entry.at = directory.at + head + (number + 1) * size - self._inline

    def _move(self, directory: Directory, at: int) -> None:
        """Let whatever points to a directory of the first chain point to its new place."""
        (first,) = self._unpack(self._offset, self._first_at)
        if first == directory.at:
            struct.pack_into(self.order + self._offset, self.file, self._first_at, at)
        else:
            before = next(page for page in self.pages() if page.next == directory.at)
            before.next = at
            self._write(before, {})
        directory.at = at
