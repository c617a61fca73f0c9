"""Hours and money are products; the budget is a wall."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError
from repaint_batch.preflight.cost import cost_of, probe
from repaint_batch.preflight.findings import Findings, Look
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage

from ..corpus import save_tiny_prior


def config(prior: str = "p", preset: str = "paper", **compute: Any) -> JobConfig:
    return JobConfig.model_validate({
        "input": {"manifest": "m.parquet"},
        "output": {"uri": "out"},
        "prior": {"source": prior},
        "sampler": {"preset": preset},
        "compute": compute,
    })


def findings(rows: int, windows: int) -> Findings:
    found = Findings(rows)
    for row in range(10):
        found.add(Look(f"{row}", row, hole_fraction=0.1, windows=windows))
    return found


def test_the_whole_sum() -> None:
    job = config(actors=[1, 4], price_per_gpu_hour=3.0, budget=600.0)
    cost = cost_of(findings(10_000, 2), job, 36.0)
    assert (cost.windows, cost.nfe) == (20_000, 20_000 * PRESETS["paper"].nfe)
    assert (cost.gpu_hours, cost.wall_hours, cost.money) == (200.0, 50.0, 600.0)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert cost.finish_at(start) == start + timedelta(hours=50)
    cost.check_budget(job)
    best_of_three = job.model_copy(update={"sampler": job.sampler.model_copy(update={"candidates": 3})})
    tripled = cost_of(findings(10_000, 2), best_of_three, 36.0)
    assert (tripled.windows, tripled.nfe, tripled.gpu_hours) == (20_000, 3 * cost.nfe, 600.0)
    with pytest.raises(ConfigError, match=r"about 600.06, more than compute.budget = 600.00"):
        cost_of(findings(10_001, 2), job, 36.0).check_budget(job)


def test_a_budget_needs_figures() -> None:
    unknown = cost_of(findings(10, 1), config(), None)
    assert (unknown.gpu_hours, unknown.money, unknown.finish_at(datetime.now(UTC))) == (None, None, None)
    unknown.check_budget(config())
    with pytest.raises(ConfigError, match=r"without compute.price_per_gpu_hour nobody knows"):
        unknown.check_budget(config(budget=1.0))
    with pytest.raises(ConfigError, match="without the seconds of a window nobody knows"):
        unknown.check_budget(config(budget=1.0, price_per_gpu_hour=1.0))


def test_the_probe_times_a_real_network(tmp_path: Path) -> None:
    prior = save_tiny_prior(tmp_path / "prior")
    draft, paper = (probe(config(prior, preset, batch_windows=2), Storage()) for preset in ("draft", "paper"))
    assert draft > 0
    # 80 times the evaluations; the machine's moods must not matter.
    assert paper > 5 * draft
