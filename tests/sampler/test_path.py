"""Laws of the path through noise levels."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint_batch.sampler.path import Jump, Reverse, Undo, folded, jump_times, moves, nfe
from repaint_batch.sampler.repaint import RePaint

SETTINGS = st.tuples(st.integers(2, 60), st.integers(1, 12), st.integers(1, 5))


@given(SETTINGS)
@settings(deadline=None)
def test_a_path_walks_single_levels_from_noise_to_picture(setting):
    count, length, n_sample = setting
    times = jump_times(count, [Jump(length, n_sample)])
    assert times[0] == count - 1
    assert times[-1] == -1
    assert times.count(-1) == 1
    assert all(abs(here - there) == 1 for here, there in pairwise(times))
    assert max(times) <= count - 1


@given(SETTINGS)
@settings(deadline=None)
def test_every_level_is_left_downwards_as_often_as_it_is_entered(setting):
    count, length, n_sample = setting
    times = jump_times(count, [Jump(length, n_sample)])
    down = sum(there < here for here, there in pairwise(times))
    up = sum(there > here for here, there in pairwise(times))
    assert down - up == count
    assert nfe(times) == down


@given(SETTINGS)
@settings(deadline=None)
def test_each_jump_fires_n_sample_minus_one_times(setting):
    count, length, n_sample = setting
    undos = [step for step in moves(jump_times(count, [Jump(length, n_sample)])) if isinstance(step, Undo)]
    starts = range(0, count - length, length)
    assert all(step.stop - step.start >= length for step in undos)
    assert sum(step.stop - step.start for step in undos) == len(starts) * (n_sample - 1) * length


@given(SETTINGS)
@settings(deadline=None)
def test_collapsed_and_single_steps_visit_the_same_network_calls(setting):
    count, length, n_sample = setting
    times = jump_times(count, [Jump(length, n_sample)])
    collapsed, single = list(moves(times)), list(moves(times, collapse_undo=False))
    assert [s for s in collapsed if isinstance(s, Reverse)] == [s for s in single if isinstance(s, Reverse)]
    assert sum(s.stop - s.start for s in collapsed if isinstance(s, Undo)) == sum(isinstance(s, Undo) for s in single)


@given(SETTINGS)
@settings(deadline=None)
def test_a_preset_knows_its_price(setting):
    sampler = RePaint(*setting)
    assert sampler.nfe == sum(isinstance(step, Reverse) for step in sampler.path)


def test_the_schedule_of_the_paper_costs_2410():
    path = RePaint(250, 10, 10).path
    assert sum(isinstance(step, Reverse) for step in path) == 2410
    assert sum(step.stop - step.start for step in path if isinstance(step, Undo)) == 2160


@pytest.mark.parametrize("start", [20, 35, 50])
def test_no_jump_ends_above_start_resampling(start):
    times = jump_times(60, [Jump(5, 3)], start_resampling=start)
    tops = [here for before, here, after in zip(times, times[1:], times[2:], strict=False) if before < here > after]
    assert tops
    assert max(tops) <= start


@given(SETTINGS)
@settings(deadline=None)
def test_folded_steps_lead_from_one_network_call_to_the_level_of_the_next(setting):
    count, length, n_sample = setting
    path = list(moves(jump_times(count, [Jump(length, n_sample)]), collapse_undo=False))
    found = list(folded(path))
    assert [move for move, _ in found] == [move for move in path if isinstance(move, Reverse)]
    assert [level for _, level in found[:-1]] == [move.index for move, _ in found[1:]]
    assert found[-1][1] == -1
