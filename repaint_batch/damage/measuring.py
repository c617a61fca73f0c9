"""What the detector finds and what it marks in vain, on photographs that it was not trained on.

Sensitivity is measured on the photographs that are left out of training for their licences, as they are and as prints may hold
them (toned, with grain, compressed). What is reported comes from others, the held-out ones, so that no figure was chosen on its
own data.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repaint_batch.damage import transport
from repaint_batch.damage.detector import Marked, logits_of, marks_of
from repaint_batch.damage.network import Detector
from repaint_batch.damage.overlay import overlay_of
from repaint_batch.damage.synthetic import KINDS, Kind, Marks, damaged_crop, finished
from repaint_batch.damage.training import DetectorConfig, cut, f1_of, pixel_counts

RATES = (0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_CROP_PX = 512
_CROPS = 24
_WIDTHS = ((1.0, 1.5), (1.5, 3.0), (3.0, 6.0))
_CONTRASTS = ((20.0, 35.0), (35.0, 120.0))


@dataclass(frozen=True)
class Clean:
    """What was marked in pictures without damage: pictures, marked ones among them, and the share of the area."""

    pictures: int
    marked: int
    share: float


def sensitivity_of(pictures: Iterable[np.ndarray], network: Detector) -> dict[str, list[float]]:
    """Return the evidence from which a mark counts, for each of `RATES`, by pictures (H, W, 3) uint8 without damage."""
    found, area = [], 0
    for picture in pictures:
        found.append(marks_of(logits_of(picture, network)))
        area += picture.shape[0] * picture.shape[1]
    grid = np.geomspace(0.5, 2000, 300)
    counts = np.array([sum(len(one.believed(threshold).marks) for one in _light(found)) for threshold in grid])
    per_megapixel = counts / (area / 1e6)
    evidence = [float(grid[np.flatnonzero(per_megapixel > rate)[-1] + 1]) if (per_megapixel > rate).any() else float(grid[0])
                for rate in RATES]  # fmt: skip
    return {"false_marks_per_megapixel": list(RATES), "evidence": [round(value, 3) for value in evidence]}


def _light(found: Sequence[Marked]) -> list[Marked]:
    """Return marks without their pixels."""
    return [Marked(np.zeros(1, np.int32), one.marks) for one in found]


def clean_of(pictures: Iterable[np.ndarray], network: Detector, threshold: float) -> Clean:
    """Return what is marked in pictures without damage."""
    shares = [float(marks_of(logits_of(p, network)).believed(threshold).hole().mean()) for p in pictures]
    return Clean(len(shares), sum(share > 0 for share in shares), float(np.mean(shares)))


def f1_by_kind(config: DetectorConfig, network: Detector, threshold: float) -> dict[str, float]:
    """Return F1 on damaged crops of held-out photographs: of scratches by width and contrast and in all, and of dust."""
    pictures = [np.asarray(picture) for _, picture in config.photographs("held-out")]
    scores: dict[str, float] = {}
    total = np.zeros(4)
    for width in _WIDTHS:
        for contrast in _CONTRASTS:
            counts = _counted(pictures, Marks(width, (1, 5), contrast), "scratches", network, threshold)
            scores[f"scratches {width[0]:g}-{width[1]:g} px, {contrast[0]:g}-{contrast[1]:g} levels"] = f1_of(counts)
            total += counts
    scores["scratches"] = f1_of(total)
    scores["dust"] = f1_of(_counted(pictures, Marks((1, 6), (1, 5), (20, 120)), "dust", network, threshold))
    return scores


def _counted(
    pictures: Sequence[np.ndarray], marks: Marks, kind: Kind, network: Detector, threshold: float
) -> np.ndarray:
    """Return summed `pixel_counts` over crops with damage of one kind."""
    rng, total = np.random.default_rng(11), np.zeros(4)
    for number in range(_CROPS):
        picture = cut(pictures[number % len(pictures)], _CROP_PX, rng).astype(np.float32)
        lines, specks = (int(rng.integers(1, 5)), 0) if kind == "scratches" else (0, int(rng.integers(6, 30)))
        crop = damaged_crop(picture, lines, specks, rng, marks)
        found = marks_of(logits_of(crop.pixels, network)).believed(threshold).hole()
        total += pixel_counts(found, crop.marked[KINDS.index(kind)], ~crop.counts)
    return total


def as_prints(pictures: Iterable[tuple[str, Image.Image]], *, aged: bool = True) -> Iterator[np.ndarray]:
    """Yield every picture (H, W, 3) uint8 as it is, at half its size, and with grain and JPEG."""
    for name, picture in pictures:
        yield np.asarray(picture)
        yield np.asarray(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS))
        if aged:
            yield finished(np.asarray(picture, np.float32), np.random.default_rng(zlib.crc32(name.encode())))



_GRAIN = 10.0  # standard deviation, in levels
_FILMS, _FRAMES, _FRAME_PX = 10, 24, (720, 960)


def films_found(photographs: Sequence[np.ndarray], contrast: float, frames: int = _FRAMES) -> tuple[int, int]:
    """Return in how many of `_FILMS` films a scratch was found, and how many lines were found that are none.

    A film pans over a photograph under grain of `_GRAIN`; its scratch is 2 px wide and `contrast` times as strong as the grain.

    Args:
        photographs: (H, W) grey, each at least as large as a frame.
        contrast: of the scratch, over the grain's standard deviation.
        frames: of a film.
    """
    found = wrong = 0
    height, width = _FRAME_PX
    for number in range(_FILMS):
        rng = np.random.default_rng([5, number])
        photograph = photographs[number % len(photographs)]
        column = int(rng.integers(40, width - 40))
        profiles = []
        for frame in range(frames):
            share = frame / max(1, frames - 1)
            top, left = (int(share * (have - want)) for have, want in zip(photograph.shape, _FRAME_PX, strict=True))
            grey = photograph[top : top + height, left : left + width] + rng.normal(0, _GRAIN, _FRAME_PX)
            grey[:, column : column + 2] += contrast * _GRAIN
            profiles.append(transport.profile_of(np.clip(np.rint(grey), 0, 255)))
        film, least_z = (transport.added(profiles), transport.FILM_Z) if frames > 1 else (profiles[0], transport.FRAME_Z)
        lines = transport.lines_of(film, least_z)
        right = [abs(line.column - column - 0.5) <= 3 for line in lines]
        found += any(right)
        wrong += right.count(False)
    return found, wrong


_CORPORA, _PICTURES, _PICTURE_PX = 10, 30, (320, 480)


def overlays_found(photographs: Sequence[np.ndarray], opacity: float) -> tuple[list[float], int]:
    """Return the IoU of the overlay found in each of `_CORPORA` corpora of 30 crops, and in how many without one is one found.

    Args:
        photographs: (H, W) grey, each at least as large as a crop.
        opacity: of a white or black line of letters.
    """
    ious, wrong = [], 0
    height, width = _PICTURE_PX
    for number in range(_CORPORA):
        rng = np.random.default_rng([6, number])
        crops = []
        for picture in range(_PICTURES):
            photograph = photographs[picture % len(photographs)]
            top, left = (int(rng.integers(have - want + 1)) for have, want in zip(photograph.shape, _PICTURE_PX, strict=True))
            crops.append(photograph[top : top + height, left : left + width])
        letters = Image.new("L", (width, height), 0)
        font, place = ImageFont.load_default(rng.uniform(28, 56)), (rng.uniform(10, 120), rng.uniform(20, 250))
        ImageDraw.Draw(letters).text(place, f"ARCHIVE {number}", fill=255, font=font)
        cover = np.asarray(letters, np.float32) / 255 * opacity
        shade = 255.0 if number % 2 else 0.0
        covered = [np.rint((1 - cover) * crop + cover * shade).astype(np.uint8) for crop in crops]
        true, hole = cover > opacity / 2, overlay_of(covered)
        ious.append(float((true & hole).sum() / (true | hole).sum()))
        wrong += bool(overlay_of([np.ascontiguousarray(crop) for crop in crops]).any())
    return ious, wrong
