"""Restore image corpora with diffusion priors: RePaint on Ray Data, exactly once, into a Delta table.

In Python:

    >>> from PIL import Image
    >>> from repaint_batch import inpaint
    >>> picture, mask = Image.open("scratched.jpg"), Image.open("scratches.png")  # white is what is restored
    >>> restored = inpaint(picture, mask)
    >>> restored.save("restored.png")

* `inpaint` takes one picture of any size, or a list of them; `help(repaint_batch.inpaint)` explains every argument.
* `replay(output, sample_id).picture` is one row of a job, restored again from the job's own record.
* `RePaintPipeline` has the calling convention of the pipeline that diffusers deprecated.
* `repaint_batch.sampler.sampler.Sampler` and `repaint_batch.sampler.prior.Prior` show how to write one of your own.

A folder, or millions of pictures on S3: ``repaint-batch --help``.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repaint_batch.inpainting import RePaintPipeline as RePaintPipeline
    from repaint_batch.inpainting import inpaint
    from repaint_batch.pipeline.replay import replay

try:
    __version__ = version("repaint-batch")
except PackageNotFoundError:  # a working tree that is not installed
    __version__ = "0+unknown"

# help() shows these whole. RePaintPipeline is as public, but inherits five hundred lines from diffusers.
__all__ = ["inpaint", "replay"]

_LAZY = {
    "RePaintPipeline": "repaint_batch.inpainting",
    "inpaint": "repaint_batch.inpainting",
    "replay": "repaint_batch.pipeline.replay",
}
"""What is imported when it is asked for: torch and diffusers take seconds, and most of the command line needs neither."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    from repaint_batch.errors import did_you_mean

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{did_you_mean(name, _LAZY)}")


def __dir__() -> list[str]:
    return sorted({*_LAZY, "__version__"})
