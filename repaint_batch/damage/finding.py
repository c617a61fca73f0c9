"""What is damaged in one picture, of the kinds that were asked for, and the mask that says so.

`overlay`, and `transport` over the frames of a film, are known of a corpus and not of a picture: whoever looks through the corpus
first hands in what it found (`Known`). Without it a picture's own frame is searched for transport scratches, and for no overlay.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from repaint_batch.config import FindConfig, ImagesConfig, fingerprint
from repaint_batch.damage import transport
from repaint_batch.damage.detector import detector, logits_of, marks_of, threshold_of
from repaint_batch.damage.edges import missing_edges
from repaint_batch.damage.network import bundled
from repaint_batch.damage.synthetic import KINDS as LEARNED
from repaint_batch.damage.synthetic import grown
from repaint_batch.errors import ImageInvalid
from repaint_batch.images.codec import Picture, read_pages
from repaint_batch.images.colour import Colours
from repaint_batch.images.orientation import stored, upright

_REVISION = 1
"""Changes whenever the same settings and weights find something else."""
NOTHING_FOUND = "no damage of the kinds that were looked for was found; the picture passes through unchanged"


@dataclass(frozen=True, eq=False)
class Known:
    """What a corpus tells of a picture.

    Attributes:
        overlay: (H, W) bool, upright; None: nothing.
        upright_lines, level_lines: transport scratches of its film, down and across the upright picture; None: look for its own.
    """

    overlay: np.ndarray | None = None
    upright_lines: Sequence[transport.Line] | None = None
    level_lines: Sequence[transport.Line] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """What is damaged in a picture.

    Attributes:
        hole: (H, W) bool over the upright picture, True = hole.
        shares: of the picture's area, by kind, for kinds that were found.
        confidence: least of the kinds' mean confidences, 0 .. 1; 0 where nothing was found. What has a closed form counts as 1.
        marks: single marks, scratches and specks.
    """

    hole: np.ndarray
    shares: dict[str, float] = field(default_factory=dict)
    confidence: float = 0.0
    marks: int = 0


def find_damage(pixels: np.ndarray, settings: FindConfig, known: Known | None = None) -> Found:
    """Return the damage in an upright picture (H, W, 3) uint8."""
    known = known or Known()
    height, width = pixels.shape[:2]
    holes: dict[str, np.ndarray] = {}
    certain, count = [], 0
    learned = [kind for kind in LEARNED if kind in settings.find]
    if learned:
        marked = marks_of(logits_of(pixels, detector()), learned).believed(threshold_of(settings.false_marks_per_megapixel))
        count = len(marked.marks)
        for kind in learned:
            numbers = [number for number, mark in enumerate(marked.marks, 1) if mark.kind == kind]
            if numbers:
                holes[kind] = grown(np.isin(marked.labels, numbers))
                certain.append(float(np.mean([marked.marks[number - 1].confidence for number in numbers])))
    if "transport" in settings.find:
        holes["transport"] = _transport(pixels, known)
    if "overlay" in settings.find and known.overlay is not None and known.overlay.shape == (height, width):
        holes["overlay"] = grown(known.overlay, 2)
    if "edges" in settings.find:
        holes["edges"] = missing_edges(pixels)
    holes = {kind: hole for kind, hole in holes.items() if hole.any()}
    if not holes:
        return Found(np.zeros((height, width), bool))
    total = np.logical_or.reduce(list(holes.values()))
    shares = {kind: float(hole.mean()) for kind, hole in holes.items()}
    return Found(total, shares, min(certain, default=1.0), count)


def _transport(pixels: np.ndarray, known: Known) -> np.ndarray:
    height, width = pixels.shape[:2]
    grey = grey_of(pixels)
    down = transport.lines_of(transport.profile_of(grey)) if known.upright_lines is None else known.upright_lines
    across = transport.lines_of(transport.profile_of(grey.T)) if known.level_lines is None else known.level_lines
    return np.asarray(transport.drawn(down, height, width) | transport.drawn(across, width, height).T)


def finder_fingerprint(settings: FindConfig) -> str:
    """Return the hash of all that decides what is found in a picture."""
    return fingerprint(settings.model_dump(mode="json"), hashlib.sha256(bundled()).hexdigest(), _REVISION)


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) uint8 of (H, W, 3) uint8."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def pixels_of(picture: Picture) -> np.ndarray:
    """Return (H, W, 3) uint8, upright, of a picture of any layout, as a prior would see it."""
    width, height = picture.size
    colours = Colours.of(picture, np.ones((height, width), bool), opaque=False)
    out = np.empty((height, width, 3), np.uint8)
    for left, top, right, bottom in picture.strips():
        rgb = colours.to_rgb(picture.crop((left, top, right, bottom)))
        out[top:bottom, left:right] = np.clip(np.rint((rgb + 1) * 127.5), 0, 255)
    return np.ascontiguousarray(upright(out, picture.orientation))


def find_in(data: bytes, settings: FindConfig, images: ImagesConfig, known: Known | None = None) -> tuple[Found, Picture]:
    """Return the damage in an encoded picture, and the picture.

    Raises:
        ImageInvalid: it cannot be read, or has several pages.
    """
    pages = read_pages(data, images)
    if len(pages) > 1:
        raise ImageInvalid(f"picture: has {len(pages)} pages, and damage is looked for in pictures of one; give it a mask")
    return find_damage(pixels_of(pages[0]), settings, known), pages[0]


def found_mask(found: Found, picture: Picture, images: ImagesConfig) -> bytes:
    """Return the mask of what was found: a PNG of one bit, white where damaged, that lies on its picture as `images` says."""
    hole = found.hole if images.mask_drawn_on == "upright" else stored(found.hole, picture.orientation)
    return mask_png(hole)


def mask_png(hole: np.ndarray) -> bytes:
    """Return a hole (H, W) as a PNG of one bit, white = hole."""
    held = io.BytesIO()
    Image.fromarray(hole).save(held, "PNG", optimize=True)
    return held.getvalue()
