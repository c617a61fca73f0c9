"""Rivals fill the hole and leave the rest; what is not there is named."""

import sys

import numpy as np
import pytest

from repaint_batch.errors import ConfigError
from repaint_batch.evaluate.rivals import RIVALS, checked


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_continues_a_slope_and_changes_nothing_else(name: str) -> None:
    slope = np.rint(np.linspace(40, 200, 48)).astype(np.uint8)
    picture = np.broadcast_to(slope[None, :, None], (40, 48, 3)).copy()
    hole = np.zeros((40, 48), bool)
    hole[16:22, 20:27] = True
    damaged = picture.copy()
    damaged[hole] = 0
    filled = checked((name,))[name](damaged, hole)
    assert filled.dtype == np.uint8
    assert np.array_equal(filled[~hole], picture[~hole])
    assert np.abs(filled[hole].astype(int) - picture[hole]).mean() < 8


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--rival photoshop: not one of telea"):
        checked(("photoshop",))
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(ConfigError, match=r"--rival biharmonic: skimage\.restoration is not installed; pip install"):
        checked(("telea", "biharmonic"))
