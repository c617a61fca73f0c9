"""Training of the detector on photographs with synthetic damage, drawn anew for every step.

    loss = mean of w BCE(logits, marked)  +  1 - 2 sum(p m) / (sum(p) + sum(m))        (soft Dice, over the batch)

A run writes at every checkpoint: `checkpoint.pt` (everything needed to go on), `log.jsonl` (step, loss, F1 on crops of held-out
photographs, share of clean ones marked, seconds), and `weights.safetensors`, an average over steps, that can be used as it is.
"""

import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from repaint_batch.config import Model, StorageConfig
from repaint_batch.damage.network import Detector, to_bytes
from repaint_batch.damage.synthetic import Crop, Marks, damaged_crop, grown, training_crop
from repaint_batch.priors.pictures import Split, flatten_on_white, read_pictures
from repaint_batch.priors.train_config import TrainConfig

_TOLERANCE_PX = 3
_POSITIVE_WEIGHT = 2.0


class DetectorConfig(Model):
    """How `jobs/train_detector.py` trains the detector of scratches and dust."""

    pictures: tuple[str, ...] = Field(min_length=1)
    """Folders or prefixes of clear photographs."""
    output: str
    """Local folder for checkpoints, log and weights."""
    held_out: tuple[str, ...] = ()
    """Base names, or patterns of them, of photographs that are never trained on."""
    leave_out: tuple[str, ...] = ()
    """Base names, or patterns of them, of photographs that are not read in training; measured on, as held-out ones are."""
    scales: tuple[float, ...] = (1.0, 0.6, 0.35)
    """Factors by which photographs are shrunk before crops are taken."""
    crop_px: PositiveInt = 160
    """Side of a crop."""
    batch_size: PositiveInt = 8
    """Crops in a step."""
    steps: PositiveInt = 6000
    """Steps of the optimiser."""
    learning_rate: PositiveFloat = 2e-3
    """AdamW's at its highest; it rises over 100 steps and falls to 0 along a cosine."""
    ema_decay: float = Field(default=0.998, gt=0, lt=1)
    """Share that the averaged weights keep of themselves in a step."""
    checkpoint_every: PositiveInt = 200
    """Steps between checkpoints."""
    held_out_crops: PositiveInt = 40
    """Crops of held-out photographs that F1 in the log is measured on."""
    seed: int = Field(default=0, ge=0)
    """Seed of the first weights, of crops and of damage."""
    storage: StorageConfig = StorageConfig()

    def photographs(self, split: Split) -> list[tuple[str, Image.Image]]:
        """Return (name, picture) of one split."""
        reading = TrainConfig(
            pictures=self.pictures,
            output=self.output,
            held_out=self.held_out,
            holdout_one_in=None,
            leave_out=self.leave_out,
            storage=self.storage,
        )
        return [(name, flatten_on_white(picture)) for name, picture in read_pictures(reading, split)]


class DetectorTrainer:
    """One run; going on where the last one in the same folder ended."""

    def __init__(self, config: DetectorConfig, report: Callable[[str], None] = print) -> None:
        self.config, self.report = config, report
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.network = Detector().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=1e-3)
        self.step, self.loss = 0, 1.0
        self.levels = [
            [_shrunk(picture, scale, config.crop_px) for _, picture in config.photographs("train")] for scale in config.scales
        ]
        self.shares = [np.array([p.size for p in level]) / sum(p.size for p in level) for level in self.levels]
        self._resume()

    def run(self) -> Path:
        """Train to the last step; return the file of weights."""
        held_out = held_out_crops(self.config)
        began = time.monotonic()
        first = self.step
        while self.step < self.config.steps:
            self._step()
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                entry = {"step": self.step, "loss": round(self.loss, 5), **judged(self.average, held_out)}
                entry["seconds"] = round(time.monotonic() - began)
                with open(self.output / "log.jsonl", "a", encoding="utf-8") as log:
                    log.write(json.dumps(entry) + "\n")
                self.report(f"{entry}  {(time.monotonic() - began) / (self.step - first):.2f} s/step")
                self._save()
        return self.output / "weights.safetensors"

    def _step(self) -> None:
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        batch = [training_crop(self._photograph(rng), rng) for _ in range(config.batch_size)]
        pixels, marked, counts = as_tensors(batch)
        rate = config.learning_rate * min(1, (self.step + 1) / 100) * (1 + math.cos(math.pi * self.step / config.steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(pixels)
        loss = loss_of(logits.float(), marked, counts)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        decay = min(config.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for ours, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                if ours.is_floating_point():
                    ours.lerp_(new, 1 - decay)
        self.step += 1
        self.loss = 0.98 * self.loss + 0.02 * float(loss.detach())

    def _photograph(self, rng: np.random.Generator) -> np.ndarray:
        level = int(rng.integers(len(self.levels)))
        picture = self.levels[level][int(rng.choice(len(self.levels[level]), p=self.shares[level]))]
        return cut(picture, self.config.crop_px, rng)

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "loss": self.loss,
        }
        part = self.output / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.output / "checkpoint.pt")
        (self.output / "weights.safetensors").write_bytes(to_bytes(copy.deepcopy(self.average).folded()))

    def _resume(self) -> None:
        path = self.output / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss = state["step"], state["loss"]
        self.report(f"going on from step {self.step}")


def loss_of(logits: Tensor, marked: Tensor, counts: Tensor) -> Tensor:
    """Return the loss of (B, 2, H, W) logits; `counts` (B, 1, H, W) says which pixels are looked at."""
    weight = counts * (1 + (_POSITIVE_WEIGHT - 1) * marked)
    entropy = F.binary_cross_entropy_with_logits(logits, marked, weight, reduction="sum") / weight.expand_as(marked).sum()
    share = torch.sigmoid(logits) * counts
    dice = 1 - (2 * (share * marked).sum((0, 2, 3)) + 1) / (share.sum((0, 2, 3)) + (marked * counts).sum((0, 2, 3)) + 1)
    return entropy * 4 + 0.5 * dice.mean()


def as_tensors(crops: list[Crop]) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels (B, 3, S, S) in [-1, 1], marked (B, 2, S, S) and counts (B, 1, S, S), all float32."""
    pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2).float() / 127.5 - 1
    marked = torch.from_numpy(np.stack([crop.marked for crop in crops])).float()
    counts = torch.from_numpy(np.stack([crop.counts for crop in crops]))[:, None].float()
    return pixels.contiguous(memory_format=torch.channels_last), marked, counts


def cut(picture: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Return a square of a picture (H, W, 3), anywhere."""
    top, left = (int(rng.integers(extent - side_px + 1)) for extent in picture.shape[:2])
    return picture[top : top + side_px, left : left + side_px]


def held_out_crops(config: DetectorConfig, side_px: int = 256) -> list[Crop]:
    """Return crops of held-out photographs, every second one damaged, always the same."""
    rng = np.random.default_rng(7)
    pictures = [np.asarray(picture) for _, picture in config.photographs("held-out")]
    marks, crops = Marks((1, 6), (1, 5), (20, 120)), []
    for number in range(config.held_out_crops):
        picture = cut(pictures[number % len(pictures)], side_px, rng).astype(np.float32)
        lines, specks = (int(rng.integers(1, 4)), int(rng.integers(2, 9))) if number % 2 else (0, 0)
        crops.append(damaged_crop(picture, lines, specks, rng, marks))
    return crops


def pixel_counts(found: np.ndarray, marked: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Return found pixels that are right, all found, true pixels that are found, and all true, with `_TOLERANCE_PX`.

    Args:
        found: (H, W) bool.
        marked: (H, W) bool, the truth.
        ignored: (H, W) bool, where finding something is not wrong.
    """
    near_truth = grown(marked, _TOLERANCE_PX)
    if ignored is not None:
        found = found & (near_truth | ~ignored)
    near_found = grown(found, _TOLERANCE_PX)
    return np.array([(found & near_truth).sum(), found.sum(), (marked & near_found).sum(), marked.sum()], np.float64)


def f1_of(counts: np.ndarray) -> float:
    """Return F1 of what `pixel_counts` returned, summed over pictures."""
    precision, recall = counts[0] / max(counts[1], 1), counts[2] / max(counts[3], 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


@torch.inference_mode()
def judged(network: Detector, crops: list[Crop]) -> dict[str, float]:
    """Return F1 of both kinds at even odds, and the share of clean crops' pixels that is marked."""
    network.eval()
    totals, clean = np.zeros((2, 4)), []
    for crop in crops:
        found = (network(as_tensors([crop])[0])[0] > 0).numpy()
        if not crop.marked.any():
            clean.append(found.any(0).mean())
        # A mark of the other kind is not a wrong one here: both are filled alike.
        totals += [
            pixel_counts(found[kind], crop.marked[kind], ~crop.counts | grown(crop.marked[1 - kind], 3)) for kind in range(2)
        ]
    scratches, dust = (round(f1_of(total), 4) for total in totals)
    return {"scratches": scratches, "dust": dust, "clean": round(float(np.mean(clean)), 6)}


def _shrunk(picture: Image.Image, scale: float, least_px: int) -> np.ndarray:
    width, height = (max(least_px, round(side * scale)) for side in picture.size)
    return np.asarray(picture if scale == 1 else picture.resize((width, height), Image.Resampling.LANCZOS))
