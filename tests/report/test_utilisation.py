"""Shares are weighted by what was done, and advice fits them."""

import pytest

from repaint_batch.jobs.usage import Usage
from repaint_batch.report.utilisation import ACTORS_SHOWN, Utilisation


def said(calls: int, used: int, slots: int = 16, busy_s: float = 10.0, span_s: float = 10.0) -> Usage:
    return Usage(calls, used, slots, busy_s, span_s, 0, 0)


def test_nothing_is_said_where_nobody_has_said_anything() -> None:
    assert Utilisation.of([]) is None


def test_actors_weigh_by_their_calls_and_their_time() -> None:
    both = Utilisation.of([said(900, 900 * 16, busy_s=90.0, span_s=90.0), said(100, 100 * 8, busy_s=0.0, span_s=10.0)])
    assert both is not None
    assert (both.slots_used, both.waits) == (pytest.approx(0.95), pytest.approx(0.1))
    assert [actor.slots_used for actor in both.actors] == [0.5, 1.0]


def test_advice_fits_what_is_low() -> None:
    full, slow, few = (
        Utilisation.of([usage]) for usage in (said(100, 1600), said(100, 800, busy_s=5.0), said(100, 800))
    )
    assert full is not None
    assert slow is not None
    assert few is not None
    assert full.advice == ""
    assert "CPU cores" in slow.advice
    assert "batch_windows" in few.advice


def test_of_many_actors_the_least_used_are_shown() -> None:
    many = Utilisation.of([said(100, 100 + number) for number in range(ACTORS_SHOWN + 5)])
    assert many is not None
    assert many.left_out == 5
    assert min(actor.used for actor in many.actors) == 100
