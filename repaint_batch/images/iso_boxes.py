"""Boxes of ISO media files, of JPEG 2000 and of JPEG XL: lengths, types, contents.

Source: ISO 14496-12, 4.2; ISO 15444-1, annex I.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A box: its type, where it begins, where its content begins, and where it ends."""

    kind: bytes
    start: int
    content: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes between two places of a file."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size, content = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, content = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        stop = end if size == 0 else at + size
        if stop > end or stop < content:
            return
        yield Box(data[at + 4 : at + 8], at, content, stop)
        at = stop


def inside(data: bytes, kind: bytes) -> dict[bytes, list[bytes]]:
    """Return the contents of the boxes inside the first box of a kind, by their types; none if there is no such box."""
    found: dict[bytes, list[bytes]] = {}
    for outer in boxes(data):
        if outer.kind == kind:
            for box in boxes(data, outer.content, outer.end):
                found.setdefault(box.kind, []).append(data[box.content : box.end])
            return found
    return found


def codestream(data: bytes) -> bytes:
    """Return the codestream of a JPEG 2000 file, or the file itself if it is bare."""
    return next((data[box.content : box.end] for box in boxes(data) if box.kind == b"jp2c"), data)


def box(kind: bytes, content: bytes) -> bytes:
    """Return one box."""
    if len(content) + 8 < 2**32:
        return (len(content) + 8).to_bytes(4, "big") + kind + content
    return b"\0\0\0\1" + kind + (len(content) + 16).to_bytes(8, "big") + content
