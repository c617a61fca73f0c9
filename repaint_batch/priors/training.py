"""Training of an unconditional DDPM (Ho et al., NeurIPS 2020, algorithm 1) on somebody's own pictures.

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps,   loss = |eps - eps_theta(x_t, t)|²,   t uniform

A run writes to its output folder: at every checkpoint: `checkpoint.pt` (everything needed to go on), `log.jsonl` (step, loss
by noise level in training and on held-out pictures, learning rate, seconds), `samples-*.png` (sixteen unconditional samples) and
`prior/` (float16 safetensors in diffusers' layout with a model card, ready to be used). A killed run that is started again
goes on from its last checkpoint.

Where torch's process group is up, `Trainer` is one of its workers: each draws the same batch, takes its part of it, and averages
gradients with the others, so that W workers take the step that one would. The first of them writes.
"""

import contextlib
import copy
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from PIL import Image
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from repaint_batch.config import fingerprint
from repaint_batch.errors import ConfigError
from repaint_batch.priors.pictures import Pictures, load_pictures
from repaint_batch.priors.source import locate
from repaint_batch.priors.train_config import NetworkConfig, TrainConfig
from repaint_batch.storage import Storage

TRAIN_STEPS = 1000
LEVELS = 10
"""Parts of the trained time in which the loss is told."""
_WARMUP_STEPS = 200  # over which the learning rate rises, or a tenth of a short training
_UNSEEN = 32  # held-out crops that it is measured on
_CLOCK_EVERY = 8
Report = Callable[[str], None]


def make_network(shape: NetworkConfig, image_size_px: int) -> UNet2DModel:
    """Return an untrained UNet2DModel that predicts eps for RGB pictures of `image_size_px`."""
    levels = len(shape.block_out_channels)
    _check_size(image_size_px, levels)
    resolutions = [image_size_px >> level for level in range(levels)]
    attends = [px in shape.attention_px for px in resolutions]
    return UNet2DModel(
        sample_size=image_size_px,
        in_channels=3,
        out_channels=3,
        layers_per_block=shape.layers_per_block,
        block_out_channels=shape.block_out_channels,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=shape.attention_head_dim,
        norm_num_groups=shape.norm_num_groups,
    )


def _check_size(image_size_px: int, levels: int) -> None:
    """Raise ConfigError if a network of `levels` resolutions cannot halve pictures of `image_size_px` down to the last."""
    if image_size_px % 2 ** (levels - 1):
        raise ConfigError(f"image_size_px: {image_size_px} cannot be halved {levels - 1} times; change it or the network")


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine down to zero, unless it is to stay."""
    warmup = max(1, min(_WARMUP_STEPS, config.steps // 10))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.decay == "none":
        return config.learning_rate
    progress = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer:
    """One training run, or a worker of one: network, moving average, optimiser, and where it stands.

    Pictures, noise, network and average are all on one device, which the loop waits for at checkpoints alone.

    Args:
        config: what to train; its `output` folder is made if it is not there, and is one that all workers see.
        report: called by the first worker with one line of progress at every checkpoint.
    """

    precision = torch.bfloat16
    """Of the network's operations while it learns; weights, gradients and averages are float32."""

    def __init__(self, config: TrainConfig, report: Report = print) -> None:
        is_shared = dist.is_available() and dist.is_initialized()
        self._rank, self._workers = (dist.get_rank(), dist.get_world_size()) if is_shared else (0, 1)
        self.config, self.report = config, report if self._rank == 0 else _unheard
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        network = self._first_network().train()
        self.network: torch.nn.Module = network.to(device=self.device, memory_format=torch.channels_last)
        self.average = AveragedModel(self.network, multi_avg_fn=self._averaged)
        self.average.eval().requires_grad_(False)
        shared = DistributedDataParallel(self.network) if self._workers > 1 else self.network
        self._predict = torch.compile(shared, dynamic=False) if config.compile else shared
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=torch.tensor(0.0, device=self.device), weight_decay=1e-4, fused=True
        )
        self.scheduler = DDPMScheduler(num_train_timesteps=TRAIN_STEPS, beta_schedule="linear")
        self._alpha_bar = self.scheduler.alphas_cumprod.to(self.device)
        self.step, self.loss = 0, torch.full((), math.nan, device=self.device)
        self._levels, self._count = _LossByLevel(self.device), 0
        self._stopping = threading.Event()
        self._resume()

    def _first_network(self) -> UNet2DModel:
        config = self.config
        if not config.init_from:
            return make_network(config.network, config.image_size_px)
        start = locate(config.init_from, None, Storage(config.storage))
        network = UNet2DModel.from_pretrained(start, subfolder="unet", use_safetensors=True, low_cpu_mem_usage=False).float()
        _check_size(config.image_size_px, len(network.config.block_out_channels))
        # Where the weights came from on this machine is nobody's business once they are published.
        network.register_to_config(_name_or_path="", sample_size=config.image_size_px)
        return network

    def _identity(self, but: AbstractSet[str] = frozenset()) -> str:
        """What a checkpoint must agree on to be gone on from; the length of the run may change."""
        named = {"pictures", "image_size_px", "crops", "network", "init_from", "seed", "batch_size"}
        return fingerprint(self.config.model_dump(include=(named | {"held_out", "holdout_one_in", "leave_out"}) - but))

    def run(self) -> Path:
        """Train to the last step, or as long as the config says, and return the folder of the prior."""
        pictures, self._count = load_pictures(self.config, "train", self.device)
        unseen = None
        with contextlib.suppress(ConfigError):  # none is held out
            unseen, _ = load_pictures(self.config, "held-out", self.device)
        parameters = sum(p.numel() for p in self.network.parameters())
        self.report(f"{self._count} pictures, {parameters:,} parameters, {self.device}")
        self._advance(pictures, self.config.steps, unseen)
        return self.output / "prior"

    def stop(self) -> None:
        """Let `run` write what it has after the step that is under way, and return; from any thread or signal handler."""
        self._stopping.set()

    def _advance(self, pictures: Pictures, stop: int, unseen: Pictures | None = None) -> None:
        started, first = time.monotonic(), self.step
        end = started + 60 * (self.config.minutes or math.inf)
        while self.step < stop:
            loss = self._iterate(pictures)
            self.loss = torch.where(self.loss.isnan(), loss, 0.99 * self.loss + 0.01 * loss)
            self.step += 1
            late = self._is_late(end)
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps or late:
                self._checkpoint(self._now() - started, self.step - first, unseen)
            if late:
                return

    def _is_late(self, end: float) -> bool:
        # A kernel that was only launched is not done: now and then the clock is read after waiting for it.
        look = self.step % _CLOCK_EVERY == 0
        late = (look and self._now() >= end) or self._stopping.is_set()
        if self._workers > 1:  # all end after the same step
            return look and bool(self._summed(torch.tensor(float(late), device=self.device)))
        return late

    def _summed(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of what the workers have, in place."""
        if self._workers > 1:
            dist.all_reduce(value)
        return value

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def _iterate(self, pictures: Pictures) -> torch.Tensor:
        # A generator of its own for every step, so that a resumed run draws what an uninterrupted one would.
        generator = torch.Generator(self.device).manual_seed((self.config.seed << 32 | self.step) % 2**63)
        x_0 = pictures.batch(self.config.batch_size, generator)
        t = _stratified_times(len(x_0), generator)
        x_t, eps = self._noised(x_0, t, generator)
        share = len(x_0) // self._workers
        x_t, eps, t = (whole[self._rank * share : (self._rank + 1) * share] for whole in (x_t, eps, t))
        for group in self.optimizer.param_groups:
            group["lr"].fill_(learning_rate_at(self.step, self.config))
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            predicted = self._predict(x_t, t).sample
        errors = (predicted.float() - eps).square().mean((1, 2, 3))
        loss = errors.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self._levels.add(t, errors.detach())
        mean: torch.Tensor = loss.detach()
        return mean

    def _averaged(self, averages: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], count: torch.Tensor | int) -> None:
        """Move the average towards the weights; it warms up, so that a short run is not dominated by its first weights."""
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(averages, weights, count)  # type: ignore[no-untyped-call]

    def _noised(self, x_0: torch.Tensor, t: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x_t and the eps in it."""
        eps = torch.randn(x_0.shape, generator=generator, device=self.device)
        alpha_bar = self._alpha_bar[t].view(-1, 1, 1, 1)
        x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
        return x_t.contiguous(memory_format=torch.channels_last), eps

    @torch.no_grad()
    def _unseen_loss(self, unseen: Pictures) -> list[float]:
        """Return the averaged network's loss on held-out pictures at each tenth of the trained time, always the same draws."""
        generator = torch.Generator(self.device).manual_seed(0)
        x_0 = unseen.batch(_UNSEEN, generator)
        losses = []
        for level in range(LEVELS):
            t = (_stratified_times(_UNSEEN, generator) + level * TRAIN_STEPS) // LEVELS
            x_t, eps = self._noised(x_0, t, generator)
            with torch.autocast(self.device.type, torch.bfloat16):
                predicted = self.average(x_t, t).sample
            losses.append((predicted.float() - eps).square().mean())
        return [round(loss, 5) for loss in torch.stack(losses).tolist()]

    def _checkpoint(self, elapsed_s: float, done: int, unseen: Pictures | None) -> None:
        self.loss = self._summed(self.loss) / self._workers
        by_level = self._levels.taken(self._summed)
        if self._rank:
            return
        state = {
            "identity": self._identity(),
            "step": self.step,
            "loss": float(self.loss),
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.output / "checkpoint.part"
        torch.save(state, part)
        os.replace(part, self.output / "checkpoint.pt")
        self.export()
        is_judged = not self._stopping.is_set()  # which takes as long as some steps: whoever stops a run does not wait for it
        entry = {
            "step": self.step,
            "batch_size": self.config.batch_size,
            "loss": round(float(self.loss), 5),
            "loss_by_level": by_level,
            "held_out_by_level": self._unseen_loss(unseen) if unseen is not None and is_judged else None,
            "learning_rate": learning_rate_at(self.step, self.config),
            "elapsed_s": round(elapsed_s, 1),
        }
        with open(self.output / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        left = elapsed_s / done * (self.config.steps - self.step)
        pace = f"{elapsed_s / done:.2f} s/step  {left / 60:.0f} min left"
        self.report(f"step {self.step}/{self.config.steps}  loss {float(self.loss):.4f}  {pace}")
        if is_judged:
            self._sample_grid().save(self.output / f"samples-{self.step:06d}.png")

    def _resume(self) -> None:
        path = self.output / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] not in (self._identity(), self._identity(but={"seed", "batch_size"})):  # as of the first edition
            raise ConfigError(f"{path} belongs to another training; choose another output or remove it")
        self.network.load_state_dict(state["network"])
        self.average.module.load_state_dict(state["average"])
        self.average.n_averaged.fill_(state["step"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss = state["step"], torch.tensor(state["loss"], device=self.device)
        self.report(f"going on from step {self.step}")

    @torch.no_grad()
    def _sample_grid(self, side: int = 4, steps: int = 25) -> Image.Image:
        ddim = DDIMScheduler.from_config(self.scheduler.config)
        ddim.set_timesteps(steps)
        size = self.config.image_size_px
        x = torch.randn((side * side, 3, size, size), generator=torch.Generator().manual_seed(0)).to(self.device)
        for t in ddim.timesteps:
            x = ddim.step(self.average(x, t).sample, t, x).prev_sample
        pixels = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu()
        grid = pixels.reshape(side, side, size, size, 3).transpose(1, 2).reshape(side * size, side * size, 3)
        return Image.fromarray(grid.numpy())

    def export(self) -> Path:
        """Write the averaged network as float16 safetensors with a model card; return its folder, which is never half written."""
        folder, old, whole = (self.output / name for name in ("prior.part", "prior.old", "prior"))
        shutil.rmtree(folder, ignore_errors=True)
        network: Any = copy.deepcopy(self.average.module).half()
        network.save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
        (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
        (folder / "README.md").write_text(self._card(), encoding="utf-8")
        shutil.rmtree(old, ignore_errors=True)
        if whole.exists():
            whole.rename(old)
        folder.rename(whole)
        shutil.rmtree(old, ignore_errors=True)
        return whole

    def _card(self) -> str:
        config = self.config
        sources = "\n".join(f"* {Path(source).name}" for source in config.pictures)
        start = f", started from the weights of {Path(config.init_from).name}" if config.init_from else ""
        parameters = sum(p.numel() for p in self.average.parameters())
        decay = " and cosine decay" if config.decay == "cosine" else ""
        return f"""# {config.name}

Unconditional DDPM, `UNet2DModel` of {parameters:,} parameters, {config.image_size_px}×{config.image_size_px} RGB in [-1, 1], eps
prediction, {TRAIN_STEPS} linear betas 1e-4 .. 0.02. Weights are an exponential moving average, stored as float16.

## Data
{self._count} pictures from:

{sources}

Held out, never trained on: {self._held_out()}

Licences: {config.licence}

## Training
{self.step:,} steps of batch {config.batch_size}{start}; AdamW, learning rate {config.learning_rate:g} with warm-up{decay}, EMA
{config.ema_decay:g}, bfloat16 autocast. Smoothed training loss at the end: {float(self.loss):.4f}.

Made by `jobs/train_prior.py`.
"""

    def _held_out(self) -> str:
        config = self.config
        named = [", ".join(f"`{pattern}`" for pattern in config.held_out)] if config.held_out else []
        if config.holdout_one_in:
            named.append(
                f"every picture with `zlib.crc32(base.encode()) % {config.holdout_one_in} == 0`, where `base` is the file name "
                "without suffix in lower case, without skin-tone parts (1f3fb .. 1f3ff) and fe0f"
            )
        return "; ".join(named) or "nothing"


class _LossByLevel:
    """Mean loss at each tenth of the trained time, kept on the device until it is asked for."""

    def __init__(self, device: torch.device) -> None:
        self._both = torch.zeros((2, LEVELS), device=device)
        self._sums, self._counts = self._both

    def add(self, t: torch.Tensor, errors: torch.Tensor) -> None:
        """Count `errors` (B,) at times `t` (B,)."""
        level = t * LEVELS // TRAIN_STEPS
        self._sums.index_add_(0, level, errors)
        self._counts.index_add_(0, level, torch.ones_like(errors))

    def taken(self, summed: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
        """Return the means since this was last asked, over all workers, whose sums `summed` adds up; begin anew."""
        sums, counts = summed(self._both)
        means = (sums / counts).nan_to_num().tolist()
        self._both.zero_()
        return [round(mean, 5) for mean in means]


def _unheard(line: str) -> None:
    """Say nothing: the first worker speaks for all."""


def _stratified_times(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return `count` times, one in each of as many equal parts of the trained time, so that the loss varies less."""
    shift = torch.rand((), generator=generator, device=generator.device)
    at = (torch.arange(count, device=generator.device) + shift) / count
    return (at * TRAIN_STEPS).long().clamp(max=TRAIN_STEPS - 1)
