"""Training of an unconditional DDPM (Ho et al., NeurIPS 2020, algorithm 1) on somebody's own pictures.

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps,   loss = |eps - eps_theta(x_t, t)|²,   t uniform

A run writes to its output folder: `checkpoint.pt` (everything needed to go on), `log.jsonl` (step, loss, learning rate,
seconds), `samples-*.png` (sixteen unconditional samples) and `prior/` (the finished prior: float16 safetensors in
diffusers' layout with a model card). A killed run that is started again goes on from its last checkpoint.
"""

import copy
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from PIL import Image

from repaint_batch.config import NetworkConfig, TrainConfig, fingerprint
from repaint_batch.errors import ConfigError
from repaint_batch.priors.pictures import Crops, WholePictures, load_pictures
from repaint_batch.priors.source import locate
from repaint_batch.storage import Storage

TRAIN_STEPS = 1000
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
    """Return the learning rate of a step: linear warm-up, then half a cosine down to zero."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer:
    """One training run: network, moving average, optimiser, and where it stands.

    Args:
        config: what to train; its `output` folder is made if it is not there.
        report: called with one line of progress at every checkpoint.
    """

    def __init__(self, config: TrainConfig, report: Report = print) -> None:
        self.config, self.report = config, report
        self.output = Path(config.output)
        self.output.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        if config.init_from:
            start = locate(config.init_from, None, Storage(config.storage))
            network = UNet2DModel.from_pretrained(
                start, subfolder="unet", use_safetensors=True, low_cpu_mem_usage=False
            ).float()
            _check_size(config.image_size_px, len(network.config.block_out_channels))
            # Where the weights came from on this machine is nobody's business once they are published.
            network.register_to_config(_name_or_path="", sample_size=config.image_size_px)
        else:
            network = make_network(config.network, config.image_size_px)
        self.network = network.to(self.device).train()
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=1e-4)
        self.scheduler = DDPMScheduler(num_train_timesteps=TRAIN_STEPS, beta_schedule="linear")
        self.step, self.loss = 0, math.nan
        self._resume()

    @property
    def _identity(self) -> str:
        """What a checkpoint must agree on to be gone on from; the length of the run may change."""
        return fingerprint(self.config.model_dump(include={"pictures", "image_size_px", "crops", "network", "init_from"}))

    def run(self) -> Path:
        """Train to the last step and return the folder of the finished prior."""
        pictures, count = load_pictures(self.config)
        self.report(f"{count} pictures, {sum(p.numel() for p in self.network.parameters()):,} parameters, {self.device}")
        self._advance(pictures, self.config.steps)
        return self.export(count)

    def _advance(self, pictures: WholePictures | Crops, stop: int) -> None:
        started, first = time.monotonic(), self.step
        while self.step < stop:
            loss = self._iterate(pictures)
            self.loss = loss if math.isnan(self.loss) else 0.99 * self.loss + 0.01 * loss
            self.step += 1
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                self._checkpoint(time.monotonic() - started, self.step - first)

    def _iterate(self, pictures: WholePictures | Crops) -> float:
        # A generator of its own for every step, so that a resumed run draws what an uninterrupted one would.
        generator = torch.Generator().manual_seed((self.config.seed << 32 | self.step) % 2**63)
        x_0 = pictures.batch(self.config.batch_size, generator)
        eps = torch.randn(x_0.shape, generator=generator)
        t = torch.randint(TRAIN_STEPS, (len(x_0),), generator=generator)
        x_t = self.scheduler.add_noise(x_0, eps, t)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        with torch.autocast(self.device.type, torch.bfloat16):
            predicted = self.network(x_t.to(self.device), t.to(self.device)).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), eps.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        # The average warms up too, so that a short run is not dominated by its first weights.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
        return float(loss.detach())

    def _checkpoint(self, elapsed_s: float, done: int) -> None:
        state = {
            "identity": self._identity,
            "step": self.step,
            "loss": self.loss,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = self.output / "checkpoint.part"
        torch.save(state, part)
        os.replace(part, self.output / "checkpoint.pt")
        rate = learning_rate_at(self.step, self.config)
        entry = {"step": self.step, "loss": round(self.loss, 5), "learning_rate": rate, "elapsed_s": round(elapsed_s, 1)}
        with open(self.output / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        left = elapsed_s / done * (self.config.steps - self.step)
        pace = f"{elapsed_s / done:.2f} s/step  {left / 60:.0f} min left"
        self.report(f"step {self.step}/{self.config.steps}  loss {self.loss:.4f}  {pace}")
        self._sample_grid().save(self.output / f"samples-{self.step:06d}.png")

    def _resume(self) -> None:
        path = self.output / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self._identity:
            raise ConfigError(f"{path} belongs to another training; choose another output or remove it")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss = state["step"], state["loss"]
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

    def export(self, count: int) -> Path:
        """Write the averaged network as float16 safetensors with a model card; return its folder."""
        folder = self.output / "prior"
        copy.deepcopy(self.average).half().save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
        (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")
        (folder / "README.md").write_text(self._card(count), encoding="utf-8")
        return folder

    def _card(self, count: int) -> str:
        config = self.config
        sources = "\n".join(f"* {Path(source).name}" for source in config.pictures)
        start = f", started from the weights of {Path(config.init_from).name}" if config.init_from else ""
        parameters = sum(p.numel() for p in self.average.parameters())
        return f"""# {config.name}

Unconditional DDPM, `UNet2DModel` of {parameters:,} parameters, {config.image_size_px}×{config.image_size_px} RGB in [-1, 1], eps
prediction, {TRAIN_STEPS} linear betas 1e-4 .. 0.02. Weights are an exponential moving average, stored as float16.

## Data
{count} pictures from:

{sources}

Held out, never trained on: every picture with `zlib.crc32(base.encode()) % {config.holdout_one_in} == 0`, where `base` is
the file name without suffix in lower case, without skin-tone parts (1f3fb .. 1f3ff) and fe0f.

Licences: {config.licence}

## Training
{self.step:,} steps of batch {config.batch_size}{start}; AdamW, learning rate {config.learning_rate:g} with warm-up and cosine
decay, EMA {config.ema_decay:g}, bfloat16 autocast. Smoothed training loss at the end: {self.loss:.4f}.

Made by `jobs/train_prior.py`.
"""
