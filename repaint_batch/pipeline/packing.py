"""Windows on their way between stages: no larger than what they hold.

A window is bytes where each of its known pixels is one of 256 shades, as in 8-bit pictures at scale 1, and float16 where not.
Masks are bits. What comes back from the actor are the hole's pixels of final windows alone: known pixels are known, and
nothing later uses drafts.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from repaint_batch.images.restoration import Prepared
from repaint_batch.images.shades import SHADES, shades_of
from repaint_batch.images.windows import Window, leaves
from repaint_batch.pipeline.job import Row

_DTYPES: dict[str, Any] = {"u": np.dtype(np.uint8), "f": np.dtype(np.float16)}


def put_windows(row: Row, prepared: Prepared) -> None:
    """Write a picture's windows, masks and plan into its row."""
    parts, kinds = [], []
    for pixels, keep in zip(prepared.windows, prepared.keep_mask, strict=True):
        shades = shades_of(pixels, keep)
        parts.append(pixels.astype(np.float16).tobytes() if shades is None else shades.tobytes())
        kinds.append("f" if shades is None else "u")
    row["windows"] = len(prepared.windows)
    row["__windows"], row["__keep"] = b"".join(parts), np.packbits(prepared.keep_mask).tobytes()
    row["__plan"] = json.dumps([prepared.orientation, [astuple(window) for window in prepared.plan], "".join(kinds)])


class PackedWindows:
    """A row's windows, each made when it is asked for: (R, R, 3) float32 in [-1, 1]; what they hold in holes means nothing.

    Args:
        row: a work row, whose buffers are not copied.
        resolution_px: R.
    """

    def __init__(self, row: Row, resolution_px: int) -> None:
        self._data, self._kinds = row["__windows"], json.loads(row["__plan"])[2]
        self._shape = (resolution_px, resolution_px, 3)
        sizes = [_DTYPES[kind].itemsize * 3 * resolution_px**2 for kind in self._kinds]
        self._starts = np.cumsum([0, *sizes]).tolist()

    def __len__(self) -> int:
        return len(self._kinds)

    def __getitem__(self, number: int) -> np.ndarray:
        kind = self._kinds[number]
        size = self._shape[0] ** 2 * 3
        part = np.frombuffer(self._data, _DTYPES[kind], size, self._starts[number]).reshape(self._shape)
        pixels: np.ndarray = SHADES[part] if kind == "u" else part.astype(np.float32)
        return pixels


def keep_masks_of(row: Row, resolution_px: int) -> np.ndarray:
    """Return a work row's keep masks, (N, R, R) bool."""
    count = row["windows"] * resolution_px**2
    bits = np.unpackbits(np.frombuffer(row["__keep"], np.uint8), count=count)
    return bits.view(np.bool_).reshape(-1, resolution_px, resolution_px)


def plan_of(row: Row) -> tuple[tuple[Window, ...], int]:
    """Return a work row's plan of windows, and the orientation of its picture."""
    orientation, windows, _ = json.loads(row["__plan"])
    plan = (Window(left, top, side, tuple(duty), turn, parent) for left, top, side, duty, turn, parent in windows)
    return tuple(plan), orientation


def restored_bytes(row: Row, candidates: Sequence[Sequence[np.ndarray | None]], keep_masks: np.ndarray) -> bytes:
    """Return the hole's pixels of final windows, for the column ``__restored``.

    Args:
        row: a work row.
        candidates: of every restoration the (R, R, 3) float32 windows in [-1, 1]; drafts may be None.
        keep_masks: (N, R, R) bool.
    """
    final = leaves(plan_of(row)[0])
    pixels = []
    for windows in candidates:
        for number in final:
            window = windows[number]
            assert window is not None  # final windows have been restored
            pixels.append(window[~keep_masks[number]])
    return np.concatenate(pixels).astype(np.float32).tobytes()


def restored_of(row: Row, resolution_px: int) -> list[np.ndarray]:
    """Return every candidate's windows, (N, R, R, 3) float32 in [-1, 1], for `compose`; drafts hold no more than was known."""
    packed, keep = PackedWindows(row, resolution_px), keep_masks_of(row, resolution_px)
    known = np.stack([packed[number] for number in range(len(packed))])
    final = leaves(plan_of(row)[0])
    pixels = np.frombuffer(row["__restored"], np.float32).reshape(-1, 3)
    per_candidate = sum(int((~keep[number]).sum()) for number in final)
    candidates = []
    for start in range(0, len(pixels), per_candidate):
        windows = known.copy()
        at = start
        for number in final:
            hole = ~keep[number]
            stop = at + int(hole.sum())
            windows[number][hole] = pixels[at:stop]
            at = stop
        candidates.append(windows)
    return candidates
