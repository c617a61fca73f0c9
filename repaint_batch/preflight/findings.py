"""What a look at rows has found, gathered row by row."""

import math
from dataclasses import dataclass, field

import numpy as np

from repaint_batch.images.windows import Window
from repaint_batch.inpainting.fit import PLACES

_NAMED = 3  # rows that are named for a kind of fault
_KEPT_WINDOWS = 10_000  # of rows whose plans are kept
_MOSTLY = 0.5  # share of hole from which a mask looks inverted, and of such masks from which all of them do

FAILS = {
    "long id": "rows have a sample_id that is too long",
    "missing": "pictures or masks do not exist, or may not be read",
    "refused": "URIs lie outside what may be read",
    "unreadable picture": "pictures cannot be restored",
    "unreadable mask": "masks cannot be read",
    "sizes differ": "masks have another size than their picture",
    "too many windows": "masks need more windows than images.max_windows allows",
}
"""Kinds of fault that make a row fail."""

LOOKS_WRONG = {
    "no hole": "masks have no hole; their pictures pass through unchanged",
    "all hole": "masks leave no pixel known; such pictures are invented, not restored",
    "mostly hole": "masks are hole for more than half",
    "duplicate": "rows have the same picture and mask as an earlier one, and are paid for again",
}
"""Kinds that a row can be restored with."""


Place = tuple[np.ndarray, np.ndarray]
"""A window as the prior sees it: (R, R, 3) float16 in [-1, 1], 0 in the hole; (R, R) bool, True = known pixel."""


@dataclass(frozen=True)
class Look:
    """What one row is.

    Attributes:
        sample_id: its id.
        row: its number in the manifest.
        fault: a key of FAILS, or None.
        reason: why it would fail.
        is_searched: whether its mask is of what was found in the picture.
        hole_fraction: unknown pixels / all pixels.
        plan: prior-sized windows to sample; none if the prior's size was not told.
        nfe: network evaluations that they cost, of one candidate.
        digest: hash of picture and mask, both as encoded.
        thumbnail: PNG with the hole tinted, where one was asked for.
        place: one of its windows, where one was asked for.
    """

    sample_id: str
    row: int
    fault: str | None = None
    reason: str = ""
    is_searched: bool = False
    hole_fraction: float = 0.0
    plan: tuple[Window, ...] = ()
    nfe: int = 0
    digest: int | None = None
    thumbnail: bytes | None = None
    place: Place | None = None


@dataclass
class Findings:
    """What is known of a manifest after some of its rows, or all, have been looked at.

    Attributes:
        rows: rows of the manifest.
        looked: rows that were looked at.
        failing: of those, rows that would fail.
        kinds: how many rows of each kind in FAILS and LOOKS_WRONG.
        named: the first rows of each kind, with the reason.
        hole: what images.hole says, for advice.
        searched: pictures in which damage was looked for.
        marked: of those, pictures in which some was found.
        cpu_s: seconds of a core that the look has taken.
        thumbnails: (sample_id, PNG with the hole tinted) of rows drawn for the contact sheet; first those with damage found.
        plans: windows of the first rows, empty for those without.
        places: windows of some rows, to try a prior in.
    """

    rows: int
    hole: str = "white"
    looked: int = 0
    failing: int = 0
    searched: int = 0
    marked: int = 0
    cpu_s: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)
    thumbnails: list[tuple[str, bytes]] = field(default_factory=list)
    plans: list[tuple[Window, ...]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    _windows: int = 0
    _nfe: int = 0
    _windows_squared: int = 0
    _hole: float = 0.0
    _seen: dict[int, int] = field(default_factory=dict)

    def add(self, look: Look) -> None:
        """Take in one row."""
        self.looked += 1
        if self._windows < _KEPT_WINDOWS and len(self.plans) < _KEPT_WINDOWS:
            self.plans.append(look.plan)
        self._windows += len(look.plan)
        self._windows_squared += len(look.plan) ** 2
        self._nfe += look.nfe
        if look.thumbnail is not None:
            is_marked = look.is_searched and look.hole_fraction > 0
            self.thumbnails.insert(self.marked if is_marked else len(self.thumbnails), (look.sample_id, look.thumbnail))
        if look.place is not None and len(self.places) < PLACES:
            self.places.append(look.place)
        if look.fault:
            self.failing += 1
            self._count(look.fault, f"{look.sample_id}: {look.reason}")
            return
        self.searched += look.is_searched
        self.marked += look.is_searched and look.hole_fraction > 0
        self._hole += look.hole_fraction
        percent = f"{look.sample_id}: {look.hole_fraction:.0%} hole"
        if look.hole_fraction == 0 and not look.is_searched:
            self._count("no hole", look.sample_id)
        elif look.hole_fraction == 1:
            self._count("all hole", look.sample_id)
        if look.hole_fraction > _MOSTLY:
            self._count("mostly hole", percent)
        if look.digest is not None:
            earlier = self._seen.setdefault(look.digest, look.row)
            if earlier != look.row:
                self._count("duplicate", f"{look.sample_id}: as row {earlier}")

    def _count(self, kind: str, example: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        names = self.named.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(example)

    @property
    def all_bad(self) -> bool:
        """Whether rows were looked at and every one of them would fail."""
        return self.looked > 0 and self.failing == self.looked

    @property
    def holeless(self) -> bool:
        """Whether masks were read or made, and not one has a hole: such a job restores nothing."""
        return 0 < self.looked - self.failing == self.kinds.get("no hole", 0) + self.searched - self.marked

    @property
    def whole(self) -> bool:
        """Whether every row was looked at, so that totals are exact."""
        return self.looked == self.rows

    @property
    def inverted(self) -> bool:
        """Whether most masks are mostly hole: then black and white are probably the other way round."""
        return self.kinds.get("mostly hole", 0) > _MOSTLY * max(1, self.looked - self.failing)

    @property
    def hole_fraction(self) -> float:
        """Mean share of hole in the masks that could be read."""
        return self._hole / max(1, self.looked - self.failing)

    @property
    def windows(self) -> float:
        """Windows of the whole manifest: counted if every row was looked at, otherwise estimated from the sample."""
        return self._windows * self.rows / max(1, self.looked)

    @property
    def nfe(self) -> float:
        """Network evaluations of one candidate of the whole manifest, counted or estimated as `windows` are."""
        return self._nfe * self.rows / max(1, self.looked)

    @property
    def windows_margin(self) -> float:
        """Half the width of the 95 % interval of `windows`; 0 if they were counted."""
        n = self.looked
        if self.whole or n < 2:
            return 0.0
        variance = max(0.0, (self._windows_squared - self._windows**2 / n) / (n - 1))
        return 1.96 * self.rows * math.sqrt(variance / n * (1 - n / self.rows))

    @property
    def core_hours(self) -> float:
        """Hours of a core that reading all rows, and looking for damage in them, takes on this machine."""
        return self.cpu_s / 3600 * self.rows / max(1, self.looked)

    def warnings(self) -> list[str]:
        """Return what somebody should know before the job runs, the worst first; nothing where all is well."""
        lines = []
        for kind, says in {**FAILS, **LOOKS_WRONG}.items():
            count = self.kinds.get(kind, 0)
            if count:
                names = "; ".join(self.named[kind]) + ("; ..." if count > len(self.named[kind]) else "")
                lines.append(f"{kind}: {count:,} of {self.looked:,} {says} ({names})")
        if self.inverted:
            other = {"white": "black", "black": "white", "transparent": "opaque", "opaque": "transparent"}.get(self.hole)
            advice = f"images.hole is {self.hole}; should it be {other}?" if other else f"check images.hole, {self.hole}"
            lines.insert(0, f"polarity: most masks are mostly hole, {self.hole_fraction:.0%} on average; {advice}")
        return lines
