"""Missing edges: a torn corner is found, a bright sky and a dark shadow are not."""

import numpy as np

from repaint_batch.damage.edges import missing_edges


def photograph() -> np.ndarray:
    """Return (120, 160, 3) uint8 of middling shades."""
    rng = np.random.default_rng(0)
    return np.clip(110 + rng.normal(0, 15, (120, 160, 3)), 30, 200).astype(np.uint8)


def test_a_torn_corner_is_found() -> None:
    torn = photograph()
    rows, columns = np.mgrid[:120, :160]
    true = rows + columns < 30 + 3 * np.sin(columns)
    torn[true] = 250
    found = missing_edges(torn)
    assert found[true].all()
    assert found.sum() < 2.2 * true.sum()


def test_a_sky_that_ends_softly_is_none() -> None:
    sky = photograph().astype(float)
    share = np.clip((60 - np.arange(120)) / 40, 0, 1)[:, None, None]
    assert not missing_edges((share * 252 + (1 - share) * sky).astype(np.uint8)).any()


def test_a_white_thing_inside_is_none() -> None:
    plate = photograph()
    plate[40:60, 50:90] = 252
    assert not missing_edges(plate).any()
