"""RePaint in Python: a diffusers pipeline, and one call for one picture."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repaint_batch.inpainting.notebook import inpaint
    from repaint_batch.inpainting.pipeline import RePaintPipeline

__all__ = ["RePaintPipeline", "inpaint"]


def __getattr__(name: str) -> Any:
    # diffusers takes seconds to import, and who drives a job needs only its neighbours in this room.
    if name == "inpaint":
        from repaint_batch.inpainting.notebook import inpaint

        return inpaint
    if name == "RePaintPipeline":
        from repaint_batch.inpainting.pipeline import RePaintPipeline

        return RePaintPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
