"""Ratios of made-up times: what is claimed, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repaint_batch.evaluate.ratio import Ratio, busy, ratio


def test_what_slows_both_within_a_round_changes_nothing() -> None:
    slowed = [1, 7, 1, 3, 1, 20, 1]  # other work, round by round
    found = ratio([150 * times for times in slowed], [2 * times for times in slowed])
    assert (found.value, found.interval, str(found)) == (75, (75, 75), "75× (75 to 75)")


def test_load_that_comes_and_goes_within_rounds_is_refused() -> None:
    # Diffusers' rounds under load, the preset's after it had gone: 689 where 75 is true.
    found = ratio([1378, 150, 1400, 152, 1390, 149, 1380], [2] * 7)
    assert found.value == 689
    assert str(found).startswith("not supported: rounds say from 74.5 to 700; measure again on a machine")


@pytest.mark.parametrize(("rounds", "words"), [(1, "1 rounds, and 6 are needed"), (5, "5 rounds, and 6 are needed")])
def test_few_rounds_support_nothing(rounds: int, words: str) -> None:
    assert Ratio((2.0,) * rounds).refusal == words


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30))
def test_the_interval_holds_the_median_and_its_coverage_is_what_is_claimed(rounds: list[float]) -> None:
    found, n = Ratio(tuple(rounds)), len(rounds)
    low, high = found.interval
    assert low <= found.value <= high

    def coverage(k: int) -> float:
        return 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n

    wide = [k for k in range(1, (n + 1) // 2 + 1) if coverage(k) >= 0.95 - 1e-12]
    k = max(wide, default=1)
    assert (low, high) == (sorted(rounds)[k - 1], sorted(rounds)[n - k])


def test_a_busy_machine_is_told() -> None:
    assert busy(0.4, 2) is None
    assert "load 10.8 on 2 cores" in (busy(10.8, 2) or "")
