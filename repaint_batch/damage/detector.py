"""Scratches and dust in one picture: the network's answer in strips, and which of its marks to believe.

Pixels with a logit above 0 make marks, 8-connected. A mark's evidence is the sum of its logits over the square root of its
area: it grows with certainty and with size, and a long scratch need not be as certain as a speck. A mark is kept if its
evidence reaches a threshold, and a picture with no mark that reaches `SURE` times as much has none: real damage seldom comes
alone and faint.

The threshold is set by what may be marked in vain: `assets/detector/sensitivity.json` has it for rates of false marks per
megapixel, measured on photographs without damage that were not trained on (`python jobs/train_detector.py --measure`).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import torch
from scipy import ndimage

from repaint_batch.damage.network import MULTIPLE, REACH_PX, Detector, bundled, from_bytes
from repaint_batch.damage.synthetic import KINDS, grown

SURE = 1.5
_STRIP_PIXELS = 4 << 20
_EVERYWHERE = np.ones((3, 3), dtype=int)  # 8-connected


@dataclass(frozen=True)
class Mark:
    """One scratch or speck.

    Attributes:
        kind: which of the kinds that can be asked for.
        evidence: see above.
        area_px: pixels, before they are grown.
        confidence: mean probability of its pixels, 0 .. 1.
    """

    kind: str
    evidence: float
    area_px: int
    confidence: float


@dataclass(frozen=True, eq=False)
class Marked:
    """Marks of a picture, before any is believed.

    Attributes:
        labels: (H, W) int32, 0 where there is no mark, otherwise 1 + its place in `marks`.
        marks: in the order of their labels.
    """

    labels: np.ndarray
    marks: tuple[Mark, ...]

    def believed(self, threshold: float, sure: float = SURE) -> "Marked":
        """Return the marks that reach a threshold; none if none reaches `sure` times as much."""
        evidence = np.array([mark.evidence for mark in self.marks])
        if not len(evidence) or evidence.max() < sure * threshold:
            return Marked(np.zeros_like(self.labels), ())
        kept = np.flatnonzero(evidence >= threshold)
        numbers = np.zeros(len(evidence) + 1, np.int32)
        numbers[kept + 1] = np.arange(1, len(kept) + 1)
        return Marked(numbers[self.labels], tuple(self.marks[k] for k in kept))

    def hole(self) -> np.ndarray:
        """Return (H, W) bool, True = damaged, with the soft rim of every mark."""
        return grown(self.labels > 0)


@cache
def detector() -> Detector:
    """Return the detector that ships."""
    return from_bytes(bundled())


@torch.inference_mode()
def logits_of(pixels: np.ndarray, network: Detector) -> np.ndarray:
    """Return (2, H, W) float16 logits of a picture (H, W, 3) uint8: of scratches and of dust.

    The picture goes through in strips that overlap by all that the network sees, so that they change nothing.
    """
    height, width = pixels.shape[:2]
    below, right = -height % MULTIPLE, -width % MULTIPLE
    padded = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
    rows = max(MULTIPLE * 4, _STRIP_PIXELS // padded.shape[1] // MULTIPLE * MULTIPLE)
    answer = np.empty((len(KINDS), height, width), np.float16)
    for top in range(0, height, rows):
        first, last = max(0, top - REACH_PX), min(len(padded), top + rows + REACH_PX)
        strip = torch.from_numpy(padded[first:last]).permute(2, 0, 1)[None].float() / 127.5 - 1
        logits = network(strip.contiguous(memory_format=torch.channels_last))[0].clamp(-30, 30)
        stop = min(top + rows, height)
        answer[:, top:stop] = logits[:, top - first : stop - first, :width].numpy()
    return answer


def marks_of(logits: np.ndarray, kinds: Sequence[str] = KINDS) -> Marked:
    """Return all marks of the kinds asked for in (2, H, W) logits."""
    asked = [number for number, kind in enumerate(KINDS) if kind in kinds]
    best = logits[asked].max(0)
    labels, count = ndimage.label(best > 0, structure=_EVERYWHERE)
    where = labels > 0
    at, values = labels[where], best[where].astype(np.float32)
    area = np.bincount(at, minlength=count + 1)[1:]
    total = np.bincount(at, values, count + 1)[1:]
    certain = np.bincount(at, 1 / (1 + np.exp(-values)), count + 1)[1:]
    by_kind = np.stack([np.bincount(at, logits[number][where].astype(np.float32), count + 1)[1:] for number in asked])
    names = [KINDS[asked[number]] for number in by_kind.argmax(0)] if count else []
    marks = (
        Mark(kind, float(sum_ / math.sqrt(pixels)), int(pixels), float(sure / pixels))
        for kind, sum_, pixels, sure in zip(names, total, area, certain, strict=True)
    )
    return Marked(labels.astype(np.int32), tuple(marks))


def threshold_of(false_marks_per_megapixel: float) -> float:
    """Return the least evidence of a mark at which photographs without damage have so many false ones a megapixel."""
    table = json.loads(resources.files("repaint_batch").joinpath("assets/detector/sensitivity.json").read_text())
    rates, thresholds = np.array(table["false_marks_per_megapixel"]), np.array(table["evidence"])
    return float(np.interp(math.log(false_marks_per_megapixel), np.log(rates), thresholds))
