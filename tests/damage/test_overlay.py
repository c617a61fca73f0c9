"""Overlays of a corpus: found translucent, outline and inside; none where pictures have nothing in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.damage.overlay import integrated, overlay_of


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return (96, 128) uint8 pictures of random shades with edges and grain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :128]
    out = []
    for _ in range(count):
        wave = sum(
            30 / k * np.sin((columns * np.cos(a) + rows * np.sin(a)) / 20 * k + p)
            for k, (a, p) in enumerate(rng.uniform(0, 6, (6, 2)), 1)
        )
        step = 50 * (columns * np.cos(rng.uniform(0, 6)) + rows > rng.uniform(0, 150))
        out.append(np.clip(110 + wave + step - 25 + rng.normal(0, 5, rows.shape), 0, 255).astype(np.uint8))
    return out


def iou(found: np.ndarray, true: np.ndarray) -> float:
    return float((found & true).sum() / (found | true).sum())


@pytest.mark.parametrize(("shade", "opacity"), [(255, 0.3), (0, 0.4), (255, 1.0)])
def test_a_translucent_overlay_is_found(shade: int, opacity: float) -> None:
    true = np.zeros((96, 128), bool)
    true[60:80, 70:120] = True
    true[66:74, 80:110] = False  # a frame, as letters are
    covered = [np.where(true, (1 - opacity) * p + opacity * shade, p).astype(np.uint8) for p in pictures(30)]
    assert iou(overlay_of(covered), true) >= 0.8


@pytest.mark.parametrize("count", [8, 15, 30])
def test_nothing_is_found_in_pictures_with_nothing_in_common(count: int) -> None:
    assert not any(overlay_of(pictures(count, seed)).any() for seed in range(3))


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="7 pictures, fewer than 8"):
        overlay_of(pictures(7))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_integration_undoes_differences(height: int, width: int, seed: int) -> None:
    field = np.random.default_rng(seed).normal(size=(height, width))
    across, down = np.zeros_like(field), np.zeros_like(field)
    across[:, :-1], down[:-1] = np.diff(field, axis=1), np.diff(field, axis=0)
    np.testing.assert_allclose(integrated(across, down), field - field.mean(), atol=1e-4)
