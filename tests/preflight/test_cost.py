"""What a job was said to take is what it takes; hours and money are products; the budget is a wall."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from repaint_batch.config import JobConfig
from repaint_batch.errors import ConfigError
from repaint_batch.images.windows import Window, leaves
from repaint_batch.manifest import open_manifest
from repaint_batch.preflight.cost import Speed, cost_of, probe
from repaint_batch.preflight.findings import Findings, Look
from repaint_batch.preflight.looking import preflight
from repaint_batch.priors.loaded import LoadedPrior
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import SIZE_PX, encoded, job, picture, rows, save_tiny_prior, write_manifest
from ..restored import restore_here


def config(prior: str = "p", preset: str = "paper", **compute: Any) -> JobConfig:
    return JobConfig.model_validate({
        "input": {"manifest": "m.parquet"},
        "output": {"uri": "out"},
        "prior": {"source": prior},
        "sampler": {"preset": preset},
        "compute": compute,
    })


def findings(count: int, windows: int) -> Findings:
    found, plan = Findings(count), tuple(Window(0, 0, SIZE_PX, (0, 0, 1, 1)) for _ in range(windows))
    for row in range(10):
        found.add(Look(f"{row}", row, hole_fraction=0.1, plan=plan, nfe=windows * PRESETS["paper"].nfe))
    return found


def test_the_whole_sum() -> None:
    settings = config(actors=[1, 4], price_per_gpu_hour=3.0, budget=600.0)
    speed = Speed.of_window(36.0, settings)
    cost = cost_of(findings(10_000, 2), settings, speed, SIZE_PX)
    assert (cost.windows, cost.nfe) == (20_000, 20_000 * PRESETS["paper"].nfe)
    # Of so many windows the few calls at the end do not count.
    assert cost.calls == pytest.approx(4 * 5000 / 16 * PRESETS["paper"].nfe)
    assert (cost.actor_hours, cost.wall_hours, cost.money) == (pytest.approx(200.0), pytest.approx(50.0), pytest.approx(600.0))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert cost.finish_at(start) == start + timedelta(hours=cost.wall_hours or 0)
    dearer = settings.model_copy(update={"compute": settings.compute.model_copy(update={"budget": 600.01})})
    cost.check_budget(dearer)
    best_of_three = settings.model_copy(update={"sampler": settings.sampler.model_copy(update={"candidates": 3})})
    tripled = cost_of(findings(10_000, 2), best_of_three, speed, SIZE_PX)
    assert (tripled.windows, tripled.nfe, tripled.actor_hours) == (20_000, 3 * cost.nfe, pytest.approx(600.0, rel=0.01))
    with pytest.raises(ConfigError, match=r"about 600.06, more than compute.budget = 600.00"):
        cost_of(findings(10_001, 2), settings, speed, SIZE_PX).check_budget(settings)


@pytest.mark.parametrize(("count", "lengths"), [(1, 1), (10, 2), (16, 2), (17, 3)])
def test_calls_at_the_end_are_partly_empty(count: int, lengths: int) -> None:
    nfe = PRESETS["paper"].nfe
    cost = cost_of(findings(count, 2), config(), None, SIZE_PX)
    assert cost.calls == lengths * nfe
    assert cost.slots_used == pytest.approx(2 * count / (16 * lengths))


def large(hole_px: int, size_px: int = 96) -> dict[str, Any]:
    """Return a row whose picture has a hole that the prior does not see around."""
    mask = np.zeros((size_px, size_px), np.uint8)
    mask[20 : 20 + hole_px, 24 : 24 + hole_px] = 255
    return {
        name: {"bytes": encoded(pixels), "path": None}
        for name, pixels in (("image", picture(hole_px, size_px)), ("mask", mask))
    }


CORPORA = {
    "windows of one row each": rows(11),
    "drafts": [{**row, **large(20 + 5 * number)} for number, row in enumerate(rows(5))],
    "both": [{**row, **(large(40) if number % 4 == 0 else {})} for number, row in enumerate(rows(9))],
}


@pytest.mark.parametrize("preset", ["preview", "fast"])
@pytest.mark.parametrize("name", CORPORA)
def test_a_job_takes_what_was_said(local_place: Place, tmp_path: Path, name: str, preset: str) -> None:
    manifest = write_manifest(local_place, CORPORA[name])
    asked: dict[str, Any] = {"sampler": {"preset": preset, "candidates": 2}, "compute": {"shard_rows": 64, "batch_windows": 4}}
    settings = job(local_place, manifest, save_tiny_prior(tmp_path / "prior"), **asked)
    found = preflight(settings, open_manifest(manifest, local_place.storage), local_place.storage, None, resolution_px=SIZE_PX)
    assert any(len(leaves(plan)) < len(plan) for plan in found.plans) == (name != "windows of one row each")
    said, calls = cost_of(found, settings, None, SIZE_PX), 0

    def watched(prior: LoadedPrior) -> LoadedPrior:
        prior.network.register_forward_hook(lambda *_: note())
        return prior

    def note() -> None:
        nonlocal calls
        calls += 1

    restore_here(settings, device=watched)
    table = ResultsTable(settings.output.uri, local_place.storage).snapshot().read(["nfe"])
    assert said.nfe == pytest.approx(pc.sum(table["nfe"]).as_py(), rel=0.1)
    assert said.calls == pytest.approx(calls, rel=0.1)


def test_a_budget_needs_figures() -> None:
    unknown = cost_of(findings(10, 1), config(), None, SIZE_PX)
    assert (unknown.actor_hours, unknown.money, unknown.finish_at(datetime.now(UTC))) == (None, None, None)
    unknown.check_budget(config())
    with pytest.raises(ConfigError, match=r"cannot be told without compute.price_per_gpu_hour"):
        unknown.check_budget(config(budget=1.0))
    with pytest.raises(ConfigError, match="cannot be told without the seconds of a network call"):
        unknown.check_budget(config(budget=1.0, price_per_gpu_hour=1.0))


def test_the_probe_times_a_real_network(tmp_path: Path) -> None:
    speed = probe(config(save_tiny_prior(tmp_path / "prior"), batch_windows=2), Storage())
    assert speed.call_s > 0
    assert speed.batch_windows == 2
