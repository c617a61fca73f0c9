"""The gallery's data: which rows are shown, their values, their pictures; packed for a browser to open lazily.

Values are one JSON object of columns, gzipped and base64 (browsers have `DecompressionStream`). Pictures lie in base64
blocks, each on its own three-byte boundary: a piece of a block is itself base64, so that the page cuts out a data URI and
decodes nothing until a picture is looked at.
"""

import base64
import gzip
import heapq
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from repaint_batch.report.thumbnails import Thumbnails
from repaint_batch.schema import RESULTS

MAX_ROWS = 10_000
"""Rows that the gallery holds; figures always cover all."""
PICTURE_BYTES = 36_000_000
"""Bytes of all pictures together; base64 makes 48 MB of them, which leaves a page well under 60 MB."""
MOST_ROW_BYTES = 130_000
"""Bytes of one row's pictures, however few rows there are."""
_DETAIL_BYTES = 40_000
_SMALL_BYTES = 50_000
"""Bytes of a row's small pictures before there is room for a detail."""
BLOCK_CHARS = 4_000_000
_TEXT_CHARS = 2_000

Row = dict[str, Any]
_Worth = tuple[float, ...]


def row_bytes(rows: int) -> tuple[int, int]:
    """Return what the small pictures of one of `rows` rows may take, and its detail: nothing where there are many rows."""
    room = min(MOST_ROW_BYTES, PICTURE_BYTES // max(1, min(rows, MAX_ROWS)))
    detail = max(0, min(_DETAIL_BYTES, room - _SMALL_BYTES))
    return room - detail, detail


@dataclass
class Selection:
    """Keeps the rows most worth looking at: failed ones, then by risk, highest first; `images.risk.LIKELY` sets the words.

    Attributes:
        seen: rows offered so far.
    """

    seen: int = 0
    _failed: list[tuple[int, Row, Thumbnails]] = field(default_factory=list)
    _others: list[tuple[_Worth, int, Row, Thumbnails]] = field(default_factory=list)

    def wants(self, row: Row) -> bool:
        """Return whether the row would be kept, so that pictures are made of no others."""
        if row["status"] == "failed":
            return len(self._failed) < MAX_ROWS
        return len(self._others) < MAX_ROWS or _worth(row) > self._others[0][0]

    def offer(self, row: Row, pictures: Thumbnails | None) -> None:
        """Count the row; keep it if it comes with pictures, of which there may be none inside."""
        if pictures is not None and row["status"] == "failed":
            self._failed.append((self.seen, row, pictures))
        elif pictures is not None:
            entry = (_worth(row), -self.seen, row, pictures)
            if len(self._others) < MAX_ROWS:
                heapq.heappush(self._others, entry)
            else:
                heapq.heappushpop(self._others, entry)
        self.seen += 1

    def chosen(self) -> list[tuple[Row, Thumbnails]]:
        """Return the kept rows in the order in which they came; at most a quarter failed where there are too many."""
        failed = self._failed[: max(MAX_ROWS // 4, MAX_ROWS - len(self._others))]
        others = heapq.nlargest(MAX_ROWS - len(failed), self._others)
        both = failed + [(-place, row, pictures) for _, place, row, pictures in others]
        return [(row, pictures) for _, row, pictures in sorted(both, key=lambda entry: entry[0])]


def _worth(row: Row) -> _Worth:
    """Return how much a row is worth a look: by its risk, and by its seam where an earlier edition wrote no risk."""
    risk, seam = (row.get(name) for name in ("risk", "seam_score"))
    return tuple(-1.0 if value is None or not math.isfinite(value) else float(value) for value in (risk, seam))


@dataclass(frozen=True)
class Packed:
    """What the page embeds.

    Attributes:
        rows: base64 of gzipped JSON.
        blocks: base64 of pictures.
        count: rows in it.
    """

    rows: str
    blocks: list[str]
    count: int


def pack(chosen: Sequence[tuple[Row, Thumbnails]]) -> Packed:
    """Return the gallery's data, see the module's docstring."""
    blocks: list[list[str]] = [[]]
    used = 0
    # For each row: block, start, then the lengths of its parts, see `Thumbnails`; 0 for none.
    places: list[list[int]] = [[] for _ in chosen]
    # The likely wrong, with which the page opens, lie in the block that a browser has first.
    for place in sorted(range(len(chosen)), key=lambda number: _worth(chosen[number][0]), reverse=True):
        texts = [_base64(part) for part in chosen[place][1].parts]
        total = sum(map(len, texts))
        if used + total > BLOCK_CHARS and used:
            blocks.append([])
            used = 0
        places[place] = [len(blocks) - 1, used, *map(len, texts)]
        blocks[-1] += texts
        used += total
    data = {**values_of([row for row, _ in chosen]), "places": places}
    return Packed(_base64(packed_json(data)), ["".join(block) for block in blocks], len(chosen))


def values_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the values of results rows, by columns: those of the results, and the manifest's own as text."""
    own = [name for name in (rows[0] if rows else {}) if name not in RESULTS.names]
    return {
        "columns": {name: [_plain(row.get(name)) for row in rows] for name in RESULTS.names if name != "output"},
        "own": {name: [_words(row.get(name)) for row in rows] for name in own},
    }


def packed_json(data: dict[str, Any]) -> bytes:
    """Return `data` as gzipped JSON."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), 6, mtime=0)


def _base64(data: bytes | None) -> str:
    """Return base64 whose length is a multiple of four, so that pieces can be laid end to end and cut out again."""
    return "" if data is None else base64.b64encode(data).decode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, str):
        return value[:_TEXT_CHARS]
    return value.timestamp() if hasattr(value, "timestamp") else value


def _words(value: Any) -> str | None:
    """Return a manifest's own value as text; binary is not shown."""
    return None if value is None or isinstance(value, bytes) else str(value)[:200]
