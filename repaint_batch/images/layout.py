"""What the samples of a picture mean: colours, opacity, further channels, and which number is full light."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["bilevel", "grey", "palette", "rgb", "ycc", "lab", "cmyk"]
Alpha = Literal["straight", "associated"]

_NAMES = {"bilevel": "1", "grey": "L", "palette": "P", "rgb": "RGB", "ycc": "YCbCr", "lab": "LAB", "cmyk": "CMYK"}
_COLOURS = {"bilevel": 1, "grey": 1, "palette": 1, "rgb": 3, "ycc": 3, "lab": 3, "cmyk": 4}
_ALONE = {"u2": "I;16", "i4": "I", "f4": "F"}
"""Pillow's names of one grey channel that is not of 8 bits."""
_OF_MODE: dict[str, tuple[Kind, str, Alpha | None]] = {
    "1": ("bilevel", "?", None),
    "L": ("grey", "u1", None),
    "LA": ("grey", "u1", "straight"),
    "P": ("palette", "u1", None),
    "PA": ("palette", "u1", "straight"),
    "RGB": ("rgb", "u1", None),
    "RGBA": ("rgb", "u1", "straight"),
    "YCbCr": ("ycc", "u1", None),
    "CMYK": ("cmyk", "u1", None),
    "I;16": ("grey", "u2", None),
}


@dataclass(frozen=True)
class Layout:
    """What the samples of a pixel are, in their order: colours, then opacity, then further channels.

    Attributes:
        kind: what the colours are.
        dtype: of a sample.
        alpha: whether there is opacity, and whether the colours have been multiplied by it.
        extras: channels that are neither, such as infrared or spot colours; they are kept as they are.
        inverted: whether 0 is full light (TIFF's WhiteIsZero).
        top: sample of full light, or of none if inverted; None: the range of the known pixels.
        depth: bits a sample in the file.
    """

    kind: Kind
    dtype: np.dtype
    alpha: Alpha | None = None
    extras: int = 0
    inverted: bool = False
    top: float | None = None
    depth: int = 8

    @classmethod
    def of_mode(cls, mode: str, depth: int) -> "Layout":
        """Return what Pillow's `mode` holds. Raises KeyError: it is none whose pixels can be written back."""
        kind, dtype, alpha = _OF_MODE[mode]
        return cls(kind, np.dtype(dtype), alpha, top=_top(np.dtype(dtype)), depth=depth)

    @classmethod
    def of_samples(cls, kind: Kind, dtype: np.dtype, depth: int, alpha: Alpha | None = None, extras: int = 0) -> "Layout":
        """Return the layout of samples whose full light is the largest number of `depth` bits, if there is one."""
        top = float(2**depth - 1) if dtype.kind == "u" and depth <= 16 else _top(dtype)
        return cls(kind, dtype, alpha, extras, top=top, depth=depth)

    @property
    def colours(self) -> int:
        """Samples of a pixel that are colours."""
        return _COLOURS[self.kind]

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.colours + (self.alpha is not None) + self.extras

    @property
    def full_alpha(self) -> float:
        """Sample of full opacity."""
        return self.top or (1.0 if self.dtype.kind == "f" else float(np.iinfo(self.dtype).max))

    @property
    def mode(self) -> str:
        """Pillow's name where there is one; otherwise one in its manner: ``RGB;16``, ``RGBa``, ``CMYK+1``, ``F;64``."""
        code = self.dtype.str[1:]
        if self.kind == "grey" and self.samples == 1 and code != "u1":
            letter = "F" if self.dtype.kind == "f" else "I"
            return _ALONE.get(code) or f"{letter};{8 * self.dtype.itemsize}{'S' if self.dtype.kind == 'i' else ''}"
        name = _NAMES[self.kind] + {None: "", "straight": "A", "associated": "a"}[self.alpha]
        if code not in ("u1", "b1"):
            name += f";{ {'u': '', 'i': 'S', 'f': 'F'}[self.dtype.kind]}{8 * self.dtype.itemsize}"
        return name + (f"+{self.extras}" if self.extras else "")

    @property
    def is_plain(self) -> bool:
        """Return whether the picture is of 8 bits or 1, as nearly all are."""
        return self.dtype.str[1:] in ("u1", "b1") and not (self.extras or self.inverted) and self.kind != "lab"


def _top(dtype: np.dtype) -> float | None:
    return {"b1": 255.0, "u1": 255.0, "u2": 65535.0}.get(dtype.str[1:])
