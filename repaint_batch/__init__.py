"""Restore image corpora with diffusion priors: RePaint on Ray Data, exactly once, into a Delta table."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repaint_batch.inpainting import RePaintPipeline, inpaint

__all__ = ["RePaintPipeline", "inpaint"]


def __getattr__(name: str) -> Any:
    # torch and diffusers take seconds to import, and most of the command line needs neither.
    if name in __all__:
        from repaint_batch import inpainting

        return getattr(inpainting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
