"""RePaint in Python: a diffusers pipeline, and one call for one picture."""

from repaint_batch.inpainting.notebook import inpaint
from repaint_batch.inpainting.pipeline import RePaintPipeline

__all__ = ["RePaintPipeline", "inpaint"]
