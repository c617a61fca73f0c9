"""Training crops for the detector: photographs with lines and specks drawn over them, and with things that only look so.

Every mark is a cover a in [0, 1] and a change: opaque marks show (1 - a o) x + a o c, translucent ones x + a c, where the
contrast |c - x|, in levels of 255, is drawn first. Both kinds happen to a crop before grain and JPEG, as to a print before its
scan. Unlike in `drawing`, lengths are in pixels of the crop: a scratch is as wide as it is, whatever the picture's size.

A quarter of the marks has a profile of its own: bright with a dark rim, as emulsion that was pushed aside.
"""

import io
import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from repaint_batch.damage.drawing import Point, blob_outline, line_widths, walk

Kind = Literal["scratches", "dust"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What the detector's channels mean, in their order."""
LEAST_CONTRAST = 14.0
"""Levels of 255 below which a mark is asked for by nobody: it is neither found nor a false one."""
_LEAST_OF_TEXTURE = 0.5
"""The same as a share of the standard deviation of what a mark covers."""
_FINE = 3
_MARKED = 0.35  # cover from which a pixel belongs to a mark
_SHARE_CLEAN = 0.35
_SHARE_LOOKALIKE = 0.2


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop to learn from.

    Attributes:
        pixels: (S, S, 3) uint8.
        marked: (2, S, S) bool, of each of `KINDS`.
        counts: (S, S) bool, False where an answer is neither right nor wrong: rims of marks, and marks too faint to see.
    """

    pixels: np.ndarray
    marked: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Marks:
    """What marks are drawn.

    Attributes:
        width_px: least and largest width of lines.
        radius_px: of specks.
        contrast: of both, in levels of 255.
    """

    width_px: tuple[float, float] = (0.8, 6.5)
    radius_px: tuple[float, float] = (0.8, 5.0)
    contrast: tuple[float, float] = (10.0, 180.0)


def training_crop(photograph: np.ndarray, rng: np.random.Generator, marks: Marks | None = None) -> Crop:
    """Return a crop (S, S, 3) uint8 of a photograph as a print may hold it, damaged or clean, with what is damage in it."""
    picture = _printed(photograph.astype(np.float32), rng)
    if rng.uniform() < _SHARE_LOOKALIKE:
        picture = _LOOKALIKES[rng.integers(len(_LOOKALIKES))](picture, rng)
    if rng.uniform() < _SHARE_CLEAN:
        lines = specks = 0
    else:
        lines, specks = int(rng.integers(0, 4)), int(rng.integers(0, 4)) ** 2
    return damaged_crop(picture, lines, specks, rng, marks or Marks())


def damaged_crop(picture: np.ndarray, lines: int, specks: int, rng: np.random.Generator, marks: Marks) -> Crop:
    """Return a crop with as many lines and specks drawn over it.

    Args:
        picture: (H, W, 3) float32, 0 .. 255.
        lines: scratches, creases and hairs, with their branches.
        specks: specks and blotches.
        rng: what everything is drawn from.
        marks: how they are drawn.
    """
    height, width = picture.shape[:2]
    marked, ignored = np.zeros((2, height, width), bool), np.zeros((height, width), bool)
    damaged = picture.astype(np.float32)
    for number in range(lines + specks):
        kind = 0 if number < lines else 1
        cover = _line(height, width, rng, marks) if kind == 0 else _speck(height, width, rng, marks)
        box = _box_of(cover)
        cover, under = cover[box], damaged[box]
        core = cover > _MARKED
        if not core.any():
            continue
        texture = float(under[core].std(0).mean())
        damaged[box], contrast = _laid(under, cover, rng, marks)
        (marked[kind] if contrast >= max(LEAST_CONTRAST, _LEAST_OF_TEXTURE * texture) else ignored)[box] |= core
        ignored[box] |= cover > 0.04
    any_mark = marked[0] | marked[1]
    counts = ~((ignored | grown(any_mark)) & ~any_mark)
    return Crop(finished(damaged, rng), marked, counts)


def _box_of(cover: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that a cover reaches, with room for a rim."""
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(max(0, rows[0] - 5), rows[-1] + 6), slice(max(0, columns[0] - 5), columns[-1] + 6)


def grown(hole: np.ndarray, radius_px: int = 1) -> np.ndarray:
    """Return a hole (H, W) bool with a square brush of side 2 `radius_px` + 1 added."""
    padded = np.pad(hole, radius_px)
    height, width, side = *hole.shape, 2 * radius_px + 1
    rows = np.logical_or.reduce([padded[k : k + height] for k in range(side)])
    return np.asarray(np.logical_or.reduce([rows[:, k : k + width] for k in range(side)]))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _drawn(height: int, width: int, lines: list[tuple[list[Point], np.ndarray]], softness_px: float) -> np.ndarray:
    """Return (H, W) float32 cover of lines through points with a width at each; 0 is a gap."""
    fine = Image.new("L", (width * _FINE, height * _FINE), 0)
    canvas = ImageDraw.Draw(fine)
    for points, widths in lines:
        for (x, y), (u, v), wide in zip(points, points[1:], widths, strict=False):
            if wide > 0:
                canvas.line((x * _FINE, y * _FINE, u * _FINE, v * _FINE), fill=255, width=max(1, round(wide * _FINE)))
                radius = wide * _FINE / 2
                canvas.ellipse((u * _FINE - radius, v * _FINE - radius, u * _FINE + radius, v * _FINE + radius), fill=255)
    return _softened(fine, softness_px)


def _softened(fine: Image.Image, softness_px: float) -> np.ndarray:
    image = fine.reduce(_FINE)
    if softness_px > 0.2:
        image = image.filter(ImageFilter.GaussianBlur(softness_px))
    return np.asarray(image, dtype=np.float32) / 255


def _line(height: int, width: int, rng: np.random.Generator, marks: Marks) -> np.ndarray:
    """Return the cover of a scratch, a crease or a hair, some with a branch."""
    side, angle = min(height, width), float(rng.uniform(0, 2 * math.pi))
    wide = _log_uniform(rng, *marks.width_px)
    form = rng.uniform()
    if form < 0.2:
        return _drawn(height, width, _crack(height, width, angle, wide, rng), float(rng.uniform(0.0, 0.7)))
    if form < 0.4:  # through the whole crop, upright or nearly so in some cases, as film runs
        angle = math.pi / 2 + rng.normal(0, 0.02) if rng.uniform() < 0.3 else angle
        middle = rng.uniform(0.1, 0.9, 2) * (width, height)
        reach = 1.5 * max(height, width)
        start = (middle[0] - reach * math.cos(angle), middle[1] - reach * math.sin(angle))
        points = walk(rng, start, angle, 2 * reach, rng.uniform(0, 0.15), step=4)
    elif form < 0.8:
        length = side * rng.uniform(0.12, 1.0)
        points = walk(rng, _place(height, width, rng), angle, length, rng.uniform(0, 0.8), step=2.5)
    else:  # hairs
        wide = min(wide, 3.0)
        points = walk(rng, _place(height, width, rng), angle, rng.uniform(14, 90), rng.uniform(1.0, 4.0), step=1.5)
    lines = [(points, line_widths(rng, len(points), wide, float(rng.choice([0.0, 0.0, 0.1, 0.3]))))]
    if rng.uniform() < 0.25:
        start = points[int(rng.integers(1, len(points)))]
        turn = angle + rng.choice([-1, 1]) * rng.uniform(0.15, 0.9)
        branch = walk(rng, start, turn, rng.uniform(0.1, 0.5) * side, rng.uniform(0.1, 0.8), step=2.5)
        lines.append((branch, line_widths(rng, len(branch), max(0.8, 0.7 * wide), 0.0)))
    return _drawn(height, width, lines, float(rng.choice([0.0, rng.uniform(0.3, 1.0)])))


def _crack(height: int, width: int, angle: float, wide: float, rng: np.random.Generator) -> list[tuple[list[Point], np.ndarray]]:
    """Return the lines of a crack in emulsion: jagged, of uneven width, branching again and again."""
    side = min(height, width)
    start, lines = _place(height, width, rng), []
    for number in range(int(rng.integers(1, 6))):
        path = np.array(walk(rng, start, angle, side * rng.uniform(0.2, 0.9), rng.uniform(0.3, 1.5), step=4))
        path[1:] += rng.normal(0, 0.6, (len(path) - 1, 2))
        points = [(float(x), float(y)) for x, y in path]
        uneven = np.exp(rng.normal(0, 0.35, len(points)))
        lines.append((points, line_widths(rng, len(points), wide * (0.7 if number else 1.0), 0.05) * uneven))
        start = points[int(rng.integers(len(points)))]
        angle += rng.choice([-1, 1]) * rng.uniform(0.4, 1.6)
    return lines


def _speck(height: int, width: int, rng: np.random.Generator, marks: Marks) -> np.ndarray:
    """Return the cover of a speck, round, long or rough."""
    centre, radius = _place(height, width, rng), _log_uniform(rng, *marks.radius_px)
    outline = blob_outline(rng, centre, radius, rough=rng.uniform(0, 0.9))
    turn, stretch = rng.uniform(0, math.pi), rng.uniform(1.0, 2.2)
    axis = np.array([math.cos(turn), math.sin(turn)])
    along = (outline - centre) @ axis
    outline = outline + (stretch - 1) * along[:, None] * axis
    # In a patch of its own: most of a crop has nothing of a speck.
    left, top = (int(np.floor(value)) - 4 for value in outline.min(0))
    right, bottom = (int(np.ceil(value)) + 4 for value in outline.max(0))
    fine = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE), 0)
    ImageDraw.Draw(fine).polygon([((float(x) - left) * _FINE, (float(y) - top) * _FINE) for x, y in outline], fill=255)
    patch = _softened(fine, float(rng.choice([0.0, rng.uniform(0.3, 0.9)])))
    cover = np.zeros((height, width), np.float32)
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    cover[rows, columns] = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return cover


def _place(height: int, width: int, rng: np.random.Generator) -> Point:
    x, y = rng.uniform(0, 1, 2) * (width, height)
    return float(x), float(y)


def _laid(picture: np.ndarray, cover: np.ndarray, rng: np.random.Generator, marks: Marks) -> tuple[np.ndarray, float]:
    """Return the picture (h, w, 3) with a mark over it, and the mark's mean contrast, in levels, where it covers."""
    core = cover > _MARKED
    contrast = _log_uniform(rng, *marks.contrast)
    ground = picture[core].mean(0)
    light = 1.0 if rng.uniform() < 0.65 else -1.0
    if not 0 <= ground.mean() + light * contrast <= 255:
        light = -light
    tint = rng.normal(0, 0.12, 3).astype(np.float32)
    if rng.uniform() < 0.5:
        opacity = rng.uniform(0.5, 1.0)
        colour = ground + light * contrast / opacity * (1 + tint)
        if rng.uniform() < 0.3:  # paper or ink: as light or as dark as it gets
            colour = np.full(3, 250.0 if light > 0 else 8.0) + rng.normal(0, 4, 3)
        above = (cover * opacity)[..., None]
        changed = (1 - above) * picture + above * np.clip(colour, 0, 255)
    else:
        changed = picture + (cover * light * contrast)[..., None] * (1 + tint)
    if rng.uniform() < 0.25:
        rim = np.asarray(Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.6)), np.float32) / 255
        changed = changed - (np.clip(rim - cover, 0, 1) * light * contrast * rng.uniform(0.3, 0.9))[..., None]
    changed = np.clip(changed, 0, 255)
    return changed, float(np.abs(changed[core] - picture[core]).mean())


def _printed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture mirrored or turned, and toned, faded or blurred in some cases."""
    picture = np.rot90(picture, int(rng.choice([0, 0, 0, 1, 2, 3])))
    picture = picture[:, ::-1] if rng.uniform() < 0.5 else picture
    if rng.uniform() < 0.4:
        grey = picture @ np.array([0.299, 0.587, 0.114], np.float32)
        brown = rng.uniform(0, 1) if rng.uniform() < 0.5 else 0.0
        picture = grey[..., None] * (1 - brown * (1 - np.array([1.0, 0.86, 0.66], np.float32)))
    if rng.uniform() < 0.4:
        kept = rng.uniform(0.45, 1.25)
        picture = kept * picture + (1 - kept) * rng.uniform(30, 220)
    picture = np.clip(picture, 0, 255)
    if rng.uniform() < 0.3:
        soft = Image.fromarray(picture.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6)))
        picture = np.asarray(soft, np.float32)
    return np.ascontiguousarray(picture, dtype=np.float32)


def finished(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture, uint8, with grain and JPEG in half of the cases each."""
    if rng.uniform() < 0.5:
        channels = 1 if rng.uniform() < 0.6 else 3
        grain: np.ndarray = rng.standard_normal((*picture.shape[:2], channels), dtype=np.float32)
        if rng.uniform() < 0.4:
            grain = (grain + np.roll(grain, 1, 0) + np.roll(grain, 1, 1) + np.roll(grain, (1, 1), (0, 1))) / 2
        picture = picture + grain * _log_uniform(rng, 1.0, 12.0)
    pixels: np.ndarray = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if rng.uniform() < 0.5:
        shift = int(rng.integers(8))  # where the grid of blocks begins
        held = io.BytesIO()
        Image.fromarray(np.pad(pixels, ((shift, 0), (shift, 0), (0, 0)), mode="edge")).save(
            held, "JPEG", quality=int(rng.integers(45, 96)), subsampling=int(rng.integers(3))
        )
        pixels = np.asarray(Image.open(held).convert("RGB"))[shift:, shift:]
    return np.asarray(pixels)


def _wires(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with several long, even, smooth lines side by side, as wires, masts and stays are."""
    height, width = picture.shape[:2]
    angle, wide, sag = rng.uniform(0, math.pi), _log_uniform(rng, 0.8, 5), rng.uniform(-0.1, 0.1)
    across = np.array([-math.sin(angle), math.cos(angle)])
    share = np.linspace(-1, 1, 40)
    lines = []
    for offset in np.cumsum(rng.uniform(6, 40, rng.integers(2, 6))):
        middle = np.array([width, height]) / 2 + (offset - 60) * across
        path = middle + share[:, None] * 1.5 * width * np.array([math.cos(angle), math.sin(angle)])
        path = path + (sag * width * (share**2 - 0.3))[:, None] * across
        lines.append(([(float(x), float(y)) for x, y in path], np.full(len(path), wide)))
    cover = _drawn(height, width, lines, rng.uniform(0.4, 1.2))[..., None]
    return np.asarray((1 - cover) * picture + cover * rng.uniform(0, 90), dtype=np.float32)


def _strands(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with a tuft of grass, fur or hair: many curves that go one way."""
    height, width = picture.shape[:2]
    angle, wide = rng.uniform(0, 2 * math.pi), _log_uniform(rng, 0.8, 3.5)
    ground, tint = rng.uniform(20, 230), rng.normal(0, 20, 3)
    out = picture
    for _ in range(rng.integers(3, 7)):
        lines = []
        for _ in range(int(rng.integers(8, 30))):
            points = walk(rng, _place(height, width, rng), angle + rng.normal(0, 0.25), rng.uniform(20, 120), 0.8, step=5)
            lines.append((points, wide * np.linspace(1, 0.3, len(points))))
        cover = _drawn(height, width, lines, rng.uniform(0.3, 1.0))[..., None]
        shade = np.clip(ground + rng.normal(0, 35) + tint, 0, 255).astype(np.float32)
        out = np.asarray((1 - cover) * out + cover * shade)
    return out


def _text(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with lines of letters."""
    height, width = picture.shape[:2]
    size = _log_uniform(rng, 9, 44)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-"
    sheet = Image.new("L", (width, height), 0)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for line in range(int(rng.integers(1, 6))):
        words = "".join(rng.choice(list(letters), int(rng.integers(3, 30)))) if rng.uniform() < 0.9 else "......"
        canvas.text((rng.uniform(-20, width / 2), rng.uniform(0, height / 3) + 1.3 * size * line), words, fill=255, font=font)
    sheet = sheet.rotate(rng.choice([0, 0, 90, rng.uniform(-10, 10)])).filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
    cover = np.asarray(sheet, np.float32)[..., None] / 255
    light = rng.uniform(0, 60) if picture.mean() > 120 else rng.uniform(190, 255)
    return np.asarray((1 - cover) * picture + cover * light, dtype=np.float32)


def _stars(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture darkened to a night with many stars, or lamps, of one sharpness."""
    height, width = picture.shape[:2]
    night = picture * rng.uniform(0.02, 0.25)
    sheet = np.zeros((height, width), np.float32)
    count = int(_log_uniform(rng, 15, 300))
    np.add.at(sheet, (rng.integers(0, height, count), rng.integers(0, width, count)), 1 + rng.pareto(1.2, count))
    spread = rng.uniform(0.5, 1.6)
    image = Image.fromarray(np.clip(sheet * 12, 0, 255).astype(np.uint8))
    light = np.asarray(image.filter(ImageFilter.GaussianBlur(spread)), np.float32)[..., None] * 2 * math.pi * spread**2
    return np.asarray(np.clip(night + light * rng.uniform(0.7, 1.0, 3), 0, 255), dtype=np.float32)


_LOOKALIKES = (_wires, _strands, _text, _stars)
