"""The benchmark measures what it says: no test here asserts a time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from repaint_batch.cli import bench as command
from repaint_batch.evaluate.bench import (
    DEPRECATED,
    Contest,
    EngineCost,
    Round,
    Stretch,
    StretchScheduler,
    TimedNetwork,
    count_flops,
    demo_windows,
    describe,
)
from repaint_batch.evaluate.growth import measure_planning, measure_sampling
from repaint_batch.evaluate.memory import PeakMemory
from repaint_batch.sampler.path import Reverse
from repaint_batch.sampler.repaint import RePaint

from ..tiny_networks import TINY_PX, prior_of, tiny_unet

BATCH = 3


@pytest.mark.parametrize("cycles", [1, 2, 9])
def test_both_engines_run_the_same_stretch_of_the_papers_schedule(cycles: int) -> None:
    ours = Stretch(cycles=cycles)
    theirs = StretchScheduler()
    theirs.cycles = cycles
    theirs.set_timesteps(250, 10, 10, "cpu")
    falls = int((theirs.timesteps[1:] < theirs.timesteps[:-1]).sum()) + 1
    assert falls == ours.nfe == 10 * cycles
    assert len(theirs.timesteps) - falls == 10 * (len(ours.path) - ours.nfe), "ten steps up are one jump"
    whole = RePaint().path
    start = whole.index(ours.path[0])
    assert tuple(ours.path) == tuple(whole[start : start + len(ours.path)])
    levels = [step.index for step in ours.path if isinstance(step, Reverse)]
    assert abs(levels[0] - int(theirs.timesteps[0]) // 4) <= 1, "theirs jumps one level lower"


def test_a_contest_counts_every_call_of_every_engine() -> None:
    contest = Contest(demo_windows(32, BATCH), Stretch(20, 3, 3, cycles=2))
    contest.add_deprecated(prior_of(tiny_unet()))
    contest.add("ours", prior_of(tiny_unet()))
    contest.add("other", prior_of(tiny_unet()), RePaint(5, 2, 1))
    costs = contest.run(2)
    assert [one.evaluations for one in costs[DEPRECATED].rounds] == [6, 6]
    assert [one.evaluations for one in costs["ours"].rounds] == [6, 6]
    assert [one.evaluations for one in costs["other"].rounds] == [5, 5]
    for cost in costs.values():
        assert 0 < cost.non_network_share < 1
        for one in cost.rounds:
            assert 0 < one.network_seconds < one.seconds
            assert one.peak_bytes > 0
    lines = describe(costs, 2410)
    assert [line["engine"] for line in lines] == [DEPRECATED, "ours", "other"]
    assert lines[0]["speed_up"]["interval"] == (1, 1)
    assert (lines[1]["speed_up"]["value"], lines[1]["speed_up"]["refusal"]) == (None, "2 rounds, and 6 are needed")
    json.dumps(lines)


def test_a_speed_up_is_the_median_of_ratios_within_rounds() -> None:
    def cost(name: str, *seconds: float) -> EngineCost:
        rounds = tuple(Round(one, 2 * one, one / 2, 10, 1) for one in seconds)
        return EngineCost(name, 16, rounds, 10**9, "NVIDIA H100 80GB HBM3")

    slow, quick = cost("slow", 4, 40, 8), cost("quick", 1, 20, 2)
    assert quick.speed_up(slow).rounds == (4, 2, 4)
    assert quick.speed_up(slow).value == 4
    assert slow.speed_up(quick).value == 1 / 4
    assert quick.whole_speed_up(10, slow, 100).value == 40, "ten times as many evaluations, each four times as long"
    assert quick.evaluation_s == pytest.approx(0.2)
    assert quick.images_per_hour(100) == pytest.approx(3600 * 16 / 20)
    assert quick.mfu == pytest.approx(1e9 / 0.2 / 989e12)
    assert EngineCost("x", 1, slow.rounds, 1, "CPU").mfu is None


def test_flops_of_a_convolution_are_counted() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 5, 3, padding=1)

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.convolution(x)
            return out

    assert count_flops(One(), torch.zeros(2, 3, 8, 8)) == 2 * 2 * (8 * 8) * 5 * (3 * 9)


def test_a_timed_network_says_what_the_network_says() -> None:
    network = tiny_unet()
    timed = TimedNetwork(network)
    x, t = torch.randn(2, 3, TINY_PX, TINY_PX), torch.tensor([3, 5])
    assert torch.equal(timed(x, t).sample, network(x, t).sample)
    assert timed.calls == 1
    assert timed.seconds > 0


@pytest.mark.parametrize("count", [1, 5, 60])
def test_windows_are_the_demos_pictures(count: int) -> None:
    windows = demo_windows(32, count)
    assert windows.known.shape == (count, 3, 32, 32)
    assert windows.keep_mask.shape == (count, 1, 32, 32)
    assert len(set(windows.keys)) == count
    assert windows.known.abs().max() <= 1
    holes = (~windows.keep_mask).float().mean(dim=(1, 2, 3))
    assert ((holes > 0) & (holes < 1)).all()


def test_memory_that_a_block_takes_and_gives_back_is_seen() -> None:
    with PeakMemory() as memory:
        block = torch.ones(50_000_000)
        del block
    assert memory.grown_bytes > 150_000_000
    with PeakMemory() as idle:
        pass
    assert idle.grown_bytes < 50_000_000


def test_planning_is_measured_on_as_many_rows_as_asked(tmp_path: Path) -> None:
    for rows in (1, 150_001):
        cost = measure_planning(rows, tmp_path)
        assert cost.rows == rows
        assert cost.seconds > 0


def test_growth_is_measured_for_every_number_of_rows() -> None:
    assert [cost.rows for cost in measure_sampling([50, 100])] == [50, 100]


def test_efficiency_of_a_job() -> None:
    ideal = command.JobCost(shards=10, job_s=100, shard_s=10, sampling_shard_s=10, bare_shards_s=(10,) * 6)
    assert (ideal.steady_efficiency.value, ideal.fixed_s, ideal.efficiency()) == (1, 0, 1)
    noisy = command.JobCost(shards=10, job_s=100, shard_s=10, sampling_shard_s=10, bare_shards_s=(5, 10, 10, 10, 10, 20))
    assert noisy.efficiency() is None, "loops that differ so much say nothing of the job between them"
    short = command.JobCost(shards=3, job_s=33, shard_s=10, sampling_shard_s=10, bare_shards_s=(10,) * 6)
    assert short.efficiency() is None, "two spans between shards say nothing of the time between them"
    started = command.JobCost(shards=10, job_s=130, shard_s=10, sampling_shard_s=9.5, bare_shards_s=(9,) * 6)
    assert started.fixed_s == 30
    assert started.busy_share == 0.95
    assert started.efficiency(600) == pytest.approx(0.95 * 0.9)
    assert started.efficiency(6000) > started.efficiency(600)


@pytest.mark.slow
def test_the_command_writes_every_figure(tmp_path: Path) -> None:
    from repaint_batch.cli import run

    assert run(["dev", "bench", "--quick", "--output", str(tmp_path / "bench.json")]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "bench.json").read_text())
    assert set(found) == {"machine", "engines", "planning", "growth", "job"}
    assert found["engines"]["costs"][0]["engine"] == DEPRECATED
