"""Small real pictures for the pages."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def gradient() -> np.ndarray:
    """(32, 32, 3) uint8: red rises to the right, green downwards."""
    ramp = np.linspace(0, 255, 32).astype(np.uint8)
    return np.dstack([np.tile(ramp, (32, 1)), np.tile(ramp[:, None], (1, 32)), np.full((32, 32), 90, np.uint8)])
