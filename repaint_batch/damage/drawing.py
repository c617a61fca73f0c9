"""Damage as prints have it, drawn over whole pictures: the exact hole, and what shows there instead.

Every kind is drawn as a cover a in [0, 1] and a colour c of each pixel: damaged = (1 - a) x + a c. The hole is where a > 0, soft
edges included, so that outside it the damaged picture equals the whole one. Lengths below are in pixels of a picture whose
shorter side is 256; they grow with the picture.

What differs from print to print is drawn: of lines the width (also along their length), contrast, tone, softness, bends, gaps and
branches; of everything else place, size, form and colour.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

DamageName = Literal["scratches", "dust", "crease", "stain", "stamp", "writing", "torn", "object"]
DAMAGE: tuple[DamageName, ...] = get_args(DamageName)
_DRAWN_AT_PX = 256
_FINE = 4
"""Squares of a pixel along each side in which covers are drawn."""
_LEAST_COVER = 0.02
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Damage:
    """What covers a picture.

    Attributes:
        cover: (H, W) float32, 0 .. 1: opacity.
        colour: (H, W, 3) float32, 0 .. 1.
    """

    cover: np.ndarray
    colour: np.ndarray

    @property
    def hole(self) -> np.ndarray:
        """(H, W) bool, True = damaged."""
        return np.asarray(self.cover > 0)

    def over(self, picture: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint8: `picture`, of the same kind, damaged; equal to it outside the hole."""
        opacity = self.cover[..., None]
        mixed = (1 - opacity) * picture + opacity * self.colour * 255
        return np.where(self.hole[..., None], np.rint(mixed), picture).astype(np.uint8)


def draw_damage(name: DamageName, height: int, width: int, seed: int = 0) -> Damage:
    """Return damage of one kind for pictures of `height` × `width`, never nothing; another seed draws another one."""
    rng = np.random.default_rng([seed, height, width, DAMAGE.index(name)])
    while True:
        layer = _Layer(height, width)
        _DRAWN[name](layer, rng)
        if (layer.cover >= _LEAST_COVER).any():
            return layer.damage()


class _Layer:
    """A cover and a colour that are drawn on."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.scale = min(height, width) / _DRAWN_AT_PX
        self.cover = np.zeros((height, width), dtype=np.float32)
        self.colour = np.zeros((height, width, 3), dtype=np.float32)

    def damage(self) -> Damage:
        """Return what was drawn."""
        return Damage(np.where(self.cover < _LEAST_COVER, 0, self.cover).astype(np.float32), self.colour)

    def place(self, rng: np.random.Generator, margin: float = 0.0) -> Point:
        """Return a point (x, y) at least `margin` (share of a side) away from the picture's edge."""
        x, y = rng.uniform(margin, 1 - margin, 2) * (self.width, self.height)
        return float(x), float(y)

    def paint(
        self, draw: Callable[[ImageDraw.ImageDraw], None], colour: np.ndarray, opacity: float = 1.0, softness_px: float = 0.0
    ) -> None:
        """Lay over what is there the white of what `draw` draws at `_FINE` times the size, in `colour`.

        Args:
            draw: given a black picture.
            colour: (3,) or (H, W, 3), 0 .. 1.
            opacity: of its white, 0 .. 1.
            softness_px: standard deviation of a blur.
        """
        fine = Image.new("L", (self.width * _FINE, self.height * _FINE), 0)
        draw(ImageDraw.Draw(fine))
        image = fine.reduce(_FINE)
        if softness_px:
            image = image.filter(ImageFilter.GaussianBlur(softness_px))
        above = np.asarray(image, dtype=np.float32)[..., None] / 255 * opacity
        below = self.cover[..., None] * (1 - above)
        total = above + below
        mixed = (above * np.clip(colour, 0, 1) + below * self.colour) / np.maximum(total, 1e-6)
        self.colour = np.where(total > 0, mixed, self.colour).astype(np.float32)
        self.cover = total[..., 0].astype(np.float32)

    def line(self, points: list[Point], widths: np.ndarray) -> Callable[[ImageDraw.ImageDraw], None]:
        """Return what draws a line through `points` (in pixels) whose width is `widths` (px) at each; 0 is a gap."""

        def draw(canvas: ImageDraw.ImageDraw) -> None:
            for (x, y), (u, v), width in zip(points, points[1:], widths, strict=False):
                if width <= 0:
                    continue
                canvas.line((x * _FINE, y * _FINE, u * _FINE, v * _FINE), fill=255, width=max(1, round(width * _FINE)))
                radius = width * _FINE / 2
                canvas.ellipse((u * _FINE - radius, v * _FINE - radius, u * _FINE + radius, v * _FINE + radius), fill=255)

        return draw

    def polygon(self, points: np.ndarray) -> Callable[[ImageDraw.ImageDraw], None]:
        """Return what fills the polygon (N, 2) of pixels."""
        corners = [(float(x) * _FINE, float(y) * _FINE) for x, y in points]
        return lambda canvas: canvas.polygon(corners, fill=255)


def walk(rng: np.random.Generator, start: Point, angle: float, length: float, bend: float, step: float = 3.0) -> list[Point]:
    """Return points about `step` apart along a line of `length` whose direction wanders by `bend` (radians over its length)."""
    count = max(2, int(length / step))
    turns = angle + np.cumsum(rng.normal(0, bend / math.sqrt(count), count))
    steps = length / count * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return [start, *((float(x), float(y)) for x, y in np.array(start) + np.cumsum(steps, axis=0))]


def line_widths(rng: np.random.Generator, count: int, width: float, gaps: float) -> np.ndarray:
    """Return `count` widths about `width` that drift, thin out at both ends, and are 0 in a share `gaps` of places."""
    drift = np.exp(np.cumsum(rng.normal(0, 0.06, count)))
    ends = np.minimum(1, np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / max(1.0, 0.12 * count))
    widths = width * drift / drift.mean() * (0.4 + 0.6 * ends)
    noise = np.convolve(rng.normal(0, 1, count + 8), np.ones(9) / 3, mode="valid")
    return np.asarray(np.where(noise < np.quantile(noise, gaps), 0, widths))


def _tone(rng: np.random.Generator, light: float) -> np.ndarray:
    """Return a nearly grey colour, light with probability `light` and dark otherwise."""
    grey = rng.uniform(0.85, 1.0) if rng.uniform() < light else rng.uniform(0.0, 0.15)
    return np.asarray(grey + rng.normal(0, 0.02, 3))


def _scratches(layer: _Layer, rng: np.random.Generator) -> None:
    side = min(layer.height, layer.width)
    for _ in range(rng.integers(1, 4)):
        angle = rng.uniform(0, 2 * math.pi)
        width = max(1.0, rng.lognormal(math.log(1.8), 0.4) * layer.scale)
        lines = [(walk(rng, layer.place(rng), angle, rng.uniform(0.3, 0.9) * side, rng.uniform(0, 0.5)), width)]
        if rng.uniform() < 0.35:
            trunk = lines[0][0]
            turn = rng.choice([-1, 1]) * rng.uniform(0.15, 0.5)
            start = trunk[int(rng.integers(1, len(trunk)))]
            lines.append((walk(rng, start, angle + turn, rng.uniform(0.1, 0.4) * side, 0.3), max(1.0, 0.6 * width)))
        tone, opacity, softness = _tone(rng, 0.75), rng.uniform(0.55, 1.0), rng.uniform(0.3, 0.8)
        for points, wide in lines:
            widths = line_widths(rng, len(points), wide, rng.choice([0.0, 0.1, 0.25]))
            layer.paint(layer.line(points, widths), tone, opacity, softness)


def _dust(layer: _Layer, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(8, 25)):
        x, y = layer.place(rng)
        radius = max(0.7, rng.lognormal(math.log(1.5), 0.45) * layer.scale)
        at = np.linspace(0, 2 * math.pi, 12, endpoint=False)
        reach = radius * rng.uniform(0.7, 1.3, 12) * (1 + rng.uniform(0, 0.6) * np.cos(2 * (at - rng.uniform(0, math.pi))))
        blob = np.stack([x + reach * np.cos(at), y + reach * np.sin(at)], axis=1)
        layer.paint(layer.polygon(blob), _tone(rng, 0.6), rng.uniform(0.6, 1.0), rng.uniform(0.2, 0.7))
    for _ in range(rng.integers(0, 3)):
        hair = walk(rng, layer.place(rng), rng.uniform(0, 2 * math.pi), rng.uniform(12, 36) * layer.scale, 2.5, step=1.5)
        thread = layer.line(hair, np.full(len(hair), max(0.8, 1.2 * layer.scale)))
        layer.paint(thread, _tone(rng, 0.6), rng.uniform(0.6, 1.0), 0.4)


def _crease(layer: _Layer, rng: np.random.Generator) -> None:
    across = rng.uniform() < 0.5
    low, high = rng.uniform(0.2, 0.8, 2)
    start = (-2.0, low * layer.height) if across else (low * layer.width, -2.0)
    end = (layer.width + 2.0, high * layer.height) if across else (high * layer.width, layer.height + 2.0)
    count = max(8, int(math.dist(start, end) / 4))
    share = np.linspace(0, 1, count + 1)
    wander = np.cumsum(rng.normal(0, 0.35, count + 1)) * layer.scale
    wander -= share * wander[-1]
    normal = np.array([start[1] - end[1], end[0] - start[0]]) / math.dist(start, end)
    path = np.array(start) + share[:, None] * (np.array(end) - start) + wander[:, None] * normal
    points = [(float(x), float(y)) for x, y in path]
    width = rng.uniform(1.6, 3.0) * layer.scale
    shade = [(x + normal[0] * width * 0.7, y + normal[1] * width * 0.7) for x, y in points]
    layer.paint(layer.line(shade, line_widths(rng, count, width, 0.1)), _tone(rng, 0.0), rng.uniform(0.3, 0.6), 0.6)
    layer.paint(layer.line(points, line_widths(rng, count, width, 0.0)), _tone(rng, 1.0), rng.uniform(0.8, 1.0), 0.4)
    for at in rng.integers(0, len(points), rng.integers(2, 6)):
        flake = blob_outline(rng, points[at], rng.uniform(2, 5) * layer.scale, rough=0.5)
        layer.paint(layer.polygon(flake), _tone(rng, 1.0), 1.0, 0.3)


def blob_outline(rng: np.random.Generator, centre: Point, radius: float, rough: float) -> np.ndarray:
    """Return an outline (72, 2) around `centre` whose distance from it is `radius` times 1 ± about `rough` / 2."""
    at = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    waves = sum(rng.normal(0, rough / (k + 1)) * np.cos(k * at + rng.uniform(0, 2 * math.pi)) for k in range(2, 9))
    reach = radius * np.clip(1 + waves, 0.4, 1.8)
    return np.stack([centre[0] + reach * np.cos(at), centre[1] + reach * np.sin(at)], axis=1)


def _stain(layer: _Layer, rng: np.random.Generator) -> None:
    centre, radius = layer.place(rng, 0.2), rng.uniform(12, 22) * layer.scale
    outline = blob_outline(rng, centre, radius, rough=0.25)
    brown = np.array([0.42, 0.30, 0.16]) * rng.uniform(0.6, 1.4)
    layer.paint(layer.polygon(outline), brown * 0.7, 1.0, 1.0)
    inner = np.array(centre) + 0.85 * (outline - centre)
    mottle = rng.normal(0, 0.05, (layer.height, layer.width, 1)) + brown
    layer.paint(layer.polygon(inner), mottle, 1.0, 1.5)


def _stamp(layer: _Layer, rng: np.random.Generator) -> None:
    date = f"'{rng.integers(80, 100)} {rng.integers(1, 13):2d} {rng.integers(1, 29):2d}"
    font = ImageFont.load_default(rng.uniform(13, 18) * layer.scale * _FINE)
    left, top, right, bottom = font.getbbox(date)
    away = rng.uniform(8, 16, 2) * layer.scale * _FINE
    x, y = layer.width * _FINE - (right - left) - away[0], layer.height * _FINE - (bottom - top) - away[1]

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        canvas.text((x - left, y - top), date, fill=255, font=font, stroke_width=0.15 * layer.scale * _FINE)

    red = np.array([1.0, rng.uniform(0.35, 0.6), rng.uniform(0.05, 0.2)])
    layer.paint(draw, red, 0.5, 1.2 * layer.scale)
    layer.paint(draw, red + 0.1, rng.uniform(0.85, 1.0), 0.4)


def _writing(layer: _Layer, rng: np.random.Generator) -> None:
    x, y = 0.12 * layer.width, rng.uniform(0.3, 0.75) * layer.height
    size, slope, slant = rng.uniform(5, 8) * layer.scale, rng.uniform(-0.15, 0.05), rng.uniform(0.2, 0.6)
    ink = np.array([[0.08, 0.10, 0.35], [0.05, 0.05, 0.08], [0.45, 0.05, 0.08]])[rng.integers(3)]
    for _ in range(rng.integers(2, 4)):
        letters = int(rng.integers(3, 7))
        points = []
        for letter in range(letters):
            tall, loop = size * rng.choice([1.0, 1.0, 1.0, 2.0]), rng.uniform(0.5, 1.1) * size
            for turn in np.linspace(0, 2 * math.pi, 14, endpoint=False):
                up = tall * (1 - math.cos(turn)) / 2
                along = size * 1.3 * (letter + turn / (2 * math.pi)) + loop * math.sin(turn) * 0.7 + slant * up
                points.append((x + along, y - up + slope * (x + along)))
        widths = line_widths(rng, len(points), max(1.0, 1.6 * layer.scale), 0.0)
        layer.paint(layer.line(points, widths), ink, rng.uniform(0.8, 1), 0.4)
        x += size * (1.3 * letters + 2.0)
        if x > 0.8 * layer.width:
            return


def _torn(layer: _Layer, rng: np.random.Generator) -> None:
    legs = rng.uniform(28, 60, 2) * layer.scale
    count = 24
    share = np.linspace(0, 1, count)
    edge = np.stack([(1 - share) * legs[0], share * legs[1]], axis=1)
    jag = np.cumsum(rng.normal(0, 1.0, count)) * layer.scale
    edge += ((jag - share * jag[-1]) * np.sin(math.pi * share) + 6 * layer.scale * np.sin(math.pi * share))[:, None] * 0.7
    outline = np.concatenate([[[-2.0, -2.0]], edge[:1] * (1, 0) - (0, 2), edge, edge[-1:] * (0, 1) - (2, 0)])
    rim = outline + 2.0 * layer.scale
    for k, flip in enumerate(rng.uniform(size=2) < 0.5):
        if flip:
            extent = (layer.width, layer.height)[k]
            outline[:, k], rim[:, k] = extent - outline[:, k], extent - rim[:, k]
    layer.paint(layer.polygon(rim), np.array([0.95, 0.94, 0.90]), 1.0, 0.4)
    layer.paint(layer.polygon(outline), _tone(rng, 0.6), 1.0, 0.4)


def _object(layer: _Layer, rng: np.random.Generator) -> None:
    (x, y), radius = layer.place(rng, 0.25), rng.uniform(8, 15) * layer.scale
    at = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    corners = rng.choice([60, 4])  # a ball or a label
    at = at[:: 60 // corners] + rng.uniform(0, math.pi)
    outline = np.stack([x + radius * np.cos(at), y + radius * rng.uniform(0.7, 1.0) * np.sin(at)], axis=1)
    layer.paint(layer.polygon(outline + np.array([2.0, 3.0]) * layer.scale), np.zeros(3), 0.6, 1.5 * layer.scale)
    rows, columns = np.mgrid[: layer.height, : layer.width]
    light = 1.1 - 0.35 * np.hypot(columns - x + radius / 3, rows - y + radius / 3) / radius
    layer.paint(layer.polygon(outline), light[..., None] * rng.uniform(0.2, 1.0, 3), 1.0, 0.5)


_DRAWN: dict[DamageName, Callable[[_Layer, np.random.Generator], None]] = {
    "scratches": _scratches,
    "dust": _dust,
    "crease": _crease,
    "stain": _stain,
    "stamp": _stamp,
    "writing": _writing,
    "torn": _torn,
    "object": _object,
}
