"""The recorded vectors below `tests/golden`, see its README."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet

GOLDEN = Path(__file__).parent / "golden"
HIDDEN_SETTINGS = ("image_size", "num_heads", "num_head_channels", "use_new_attention_order")
"""What a checkpoint's card must say of the small networks."""


def read_json(name: str) -> Any:
    """Return the value in a JSON file."""
    return json.loads((GOLDEN / name).read_text())


def recorded_network(name: str) -> Any:
    """Return one of ``unet_a``, ``unet_b``, ``classifier_c`` with its recorded weights."""
    settings = read_json("configs.json")[name]
    settings["sample_size"] = settings.pop("image_size")
    settings.pop("pool", None)
    made = GuidedClassifier(**settings) if name == "classifier_c" else GuidedUNet(**settings)
    made.load_state_dict(load_file(GOLDEN / f"{name}.safetensors"))
    return made.eval().requires_grad_(False)


def hidden_card(name: str) -> dict[str, Any]:
    """Return a card that says no more of a recorded network than its weights leave open."""
    return {key: value for key, value in read_json("configs.json")[name].items() if key in HIDDEN_SETTINGS}


def copy_checkpoint(name: str, folder: Path, card: dict[str, Any] | None = None) -> Path:
    """Copy a recorded checkpoint into `folder`, with a card beside it; return its path."""
    path = folder / f"{name}.safetensors"
    path.write_bytes((GOLDEN / path.name).read_bytes())
    path.with_suffix(".json").write_text(json.dumps(hidden_card(name) if card is None else card))
    return path
