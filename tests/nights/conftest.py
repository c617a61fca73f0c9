"""The prior and the watcher of the pipeline's tests."""

from ..pipeline.conftest import recorder, tiny_prior

__all__ = ["recorder", "tiny_prior"]
