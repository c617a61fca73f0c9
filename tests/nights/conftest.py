"""The watcher of the pipeline's tests."""

from ..pipeline.conftest import recorder

__all__ = ["recorder"]
