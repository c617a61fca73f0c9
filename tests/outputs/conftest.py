"""A small prior, once a session."""

import pytest

from ..corpus import save_tiny_prior


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an untrained 16 px prior."""
    return save_tiny_prior(tmp_path_factory.mktemp("prior"))
