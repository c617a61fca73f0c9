"""Any prior that can be read, written as a diffusers folder of safetensors."""

import json
from pathlib import Path

from repaint_batch.errors import ConfigError, PriorError
from repaint_batch.priors.convert import to_unet2d
from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet
from repaint_batch.priors.load import ReadNetwork


def export(read: ReadNetwork, target: Path) -> str:
    """Write a prior or classifier to the folder `target`, and return one line that says what was written.

    A UNet becomes diffusers' `UNet2DModel` where that computes the same, and keeps its own class where not.

    Raises:
        ConfigError: `target` holds something already.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty; choose a new folder")
    network, note = read.network, f"{type(read.network).__name__}, as it was"
    if isinstance(network, GuidedClassifier):
        network.save_pretrained(target)
    else:
        if isinstance(network, GuidedUNet):
            try:
                network, note = to_unet2d(network), "UNet2DModel, the same network under diffusers' names"
            except PriorError as reason:
                note = f"GuidedUNet, since {reason}"
        network.save_pretrained(target / "unet")
        read.scheduler.save_pretrained(target / "scheduler")
        kinds = {"unet": network, "scheduler": read.scheduler}
        index = {name: [_library(part), type(part).__name__] for name, part in kinds.items()}
        text = json.dumps({"_class_name": "DDPMPipeline", **index}, indent=1)
        (target / "model_index.json").write_text(text + "\n", encoding="utf-8")
    (target / "README.md").write_text(_card(read, note), encoding="utf-8")
    return note


def _library(part: object) -> str:
    module = type(part).__module__
    return "diffusers" if module.startswith("diffusers.") else module


def _card(read: ReadNetwork, note: str) -> str:
    files = "\n".join(f"* `{file.name}`, sha256 {digest}" for file, digest in zip(read.files, read.sha256, strict=True))
    original = f"\n## Card of the original\n\n{read.card}" if read.card else ""
    return f"""# {read.path.stem}

Converted by `repaint-batch prior convert` from

{files}

Written as {note}. The licence is that of the original weights.
{original}"""
