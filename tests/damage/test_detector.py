"""The detector: strips change nothing, marks are believed by their evidence, what ships is small and finds a scratch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.damage import detector as module
from repaint_batch.damage.detector import Mark, Marked, detector, logits_of, marks_of, threshold_of
from repaint_batch.damage.network import Detector, bundled, from_bytes, to_bytes


def shades(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_what_ships_is_small() -> None:
    assert len(bundled()) <= 4_000_000
    assert sum(parameter.numel() for parameter in detector().parameters()) < 1_000_000


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, pixels = Detector().folded(), shades(333, 70)
    whole = logits_of(pixels, network)
    assert whole.shape == (2, 333, 70)
    monkeypatch.setattr(module, "_STRIP_PIXELS", 72 * 64)
    np.testing.assert_allclose(logits_of(pixels, network), whole, atol=2e-3)


def test_folding_and_storing_change_nothing() -> None:
    torch.manual_seed(1)
    network = Detector()
    network.train()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    for _ in range(20):
        network(x)
    network.eval()
    with torch.inference_mode():
        before = network(x)
        after = from_bytes(to_bytes(network.folded()))(x)
    assert (before - after).abs().max() < 0.02 * before.abs().max()


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 50), max_size=8), st.floats(0.1, 20))
def test_marks_are_believed_by_their_evidence(evidence: list[float], threshold: float) -> None:
    marks = tuple(Mark("dust", value, 1, 0.9) for value in evidence)
    labels = np.arange(len(marks) + 1, dtype=np.int32)[None]
    kept = Marked(labels, marks).believed(threshold, sure=2)
    if max(evidence, default=0) < 2 * threshold:
        assert kept.marks == ()
        assert not kept.labels.any()
    else:
        assert [mark.evidence for mark in kept.marks] == [value for value in evidence if value >= threshold]
        assert sorted(kept.labels[kept.labels > 0]) == list(range(1, len(kept.marks) + 1))


def test_marks_are_told_apart_by_their_kind() -> None:
    logits = np.full((2, 20, 30), -5, np.float16)
    logits[0, 3, 2:12] = 4
    logits[1, 10:13, 20:23] = 3
    found = marks_of(logits)
    assert [(mark.kind, mark.area_px) for mark in found.marks] == [("scratches", 10), ("dust", 9)]
    assert found.marks[0].evidence == pytest.approx(4 * 10**0.5, rel=1e-3)
    assert [mark.kind for mark in marks_of(logits, ["dust"]).marks] == ["dust"]


def test_fewer_false_marks_ask_for_more_evidence() -> None:
    assert threshold_of(0.02) > threshold_of(1.0) > threshold_of(10.0) > 0
