"""Samplers with their settings by name, and what each costs."""

import importlib
from dataclasses import fields, replace
from typing import Any

from repaint_batch.errors import ConfigError, did_you_mean
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
"""Presets by name, dearest first; decided by `repaint-batch dev evaluate`."""


def sampler_named(preset: str | Sampler) -> Sampler:
    """Return the sampler of a preset, or the one that was given.

    Raises:
        ConfigError: there is no such preset.
    """
    if isinstance(preset, Sampler):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is not one of {', '.join(PRESETS)}{did_you_mean(preset, PRESETS)}")
    return PRESETS[preset]


def sampler_of(preset: str, num_steps: int | None = None, own: str | None = None) -> Sampler:
    """Return the sampler that a job asks for.

    Args:
        preset: its name.
        num_steps: in place of the preset's own; None: those.
        own: ``module:name`` of a sampler of one's own, an instance, or a class without arguments.

    Raises:
        ConfigError: there is no such preset or object, or it takes no steps.
    """
    sampler = sampler_named(preset) if own is None else _imported(own)
    if num_steps is None:
        return sampler
    settings: Any = sampler
    if "num_steps" not in {field.name for field in fields(settings)}:
        raise ConfigError(f"sampler.num_steps: {sampler.name} has no such setting; leave it out")
    changed: Sampler = replace(settings, num_steps=num_steps)
    return changed


def _imported(own: str) -> Sampler:
    module, _, name = own.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
        found = found() if isinstance(found, type) and issubclass(found, Sampler) else found
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"sampler.own: {own} cannot be imported: {error}; write module:name, of a module that every node can import "
            "(PYTHONPATH=. finds those in this folder; `ray job submit --working-dir .` brings them along)"
        ) from error
    if not isinstance(found, Sampler):
        raise ConfigError(f"sampler.own: {own} is a {type(found).__name__}, and no repaint_batch.sampler.sampler.Sampler")
    return found
