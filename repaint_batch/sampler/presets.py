"""Samplers with their settings by name, and what each costs."""

from repaint_batch.errors import ConfigError
from repaint_batch.sampler.langevin import AnnealedLangevin
from repaint_batch.sampler.repaint import RePaint
from repaint_batch.sampler.sampler import Sampler

PRESETS: dict[str, Sampler] = {
    "paper": RePaint(250, 10, 10),
    "best": AnnealedLangevin(240),
    "balanced": AnnealedLangevin(120),
    "fast": AnnealedLangevin(60),
    "draft": AnnealedLangevin(30),
    "preview": AnnealedLangevin(16),
}
"""Presets by name, dearest first; decided by `repaint-batch evaluate`."""


def sampler_named(preset: str | Sampler) -> Sampler:
    """Return the sampler of a preset, or the one that was given.

    Raises:
        ConfigError: there is no such preset.
    """
    if isinstance(preset, Sampler):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[preset]
