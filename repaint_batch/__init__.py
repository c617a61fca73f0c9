"""Restore image corpora with diffusion priors: RePaint on Ray Data, exactly once, into a Delta table.

In Python:

* `inpaint(picture, mask)` restores one picture, or a list of them; `help(repaint_batch.inpaint)` shows every argument.
* `replay(output, sample_id).picture` is one row of a job, restored again from the job's own record.
* `RePaintPipeline` has the calling convention of the pipeline that diffusers deprecated.
* `repaint_batch.sampler.sampler.Sampler` and `repaint_batch.sampler.prior.Prior` show how to write one of your own.

On the command line: ``repaint-batch --help``.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repaint_batch.inpainting import RePaintPipeline, inpaint
    from repaint_batch.pipeline.replay import replay

try:
    __version__ = version("repaint-batch")
except PackageNotFoundError:  # a working tree that is not installed
    __version__ = "0+unknown"

__all__ = ["RePaintPipeline", "__version__", "inpaint", "replay"]


def __getattr__(name: str) -> Any:
    # torch and diffusers take seconds to import, and most of the command line needs neither.
    if name == "replay":
        from repaint_batch.pipeline.replay import replay

        return replay
    if name in __all__:
        from repaint_batch import inpainting

        return getattr(inpainting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
