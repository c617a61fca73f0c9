"""A chain that is picked up ends in the same bytes as one that was never interrupted."""

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from repaint_batch.config import PriorConfig
from repaint_batch.images.windows import Window
from repaint_batch.inpainting import RePaintPipeline
from repaint_batch.inpainting.rounds import Unrestored
from repaint_batch.pipeline.inflight import InFlight, work_of
from repaint_batch.pipeline.stages import inflight_uri
from repaint_batch.priors.load import load_prior
from repaint_batch.sampler.noise import sample_key
from repaint_batch.sampler.presets import PRESETS, RePaint
from repaint_batch.sampler.repaint import ChainState
from repaint_batch.storage import Storage

from ..conftest import Place

WINDOWS, BATCH = 5, 2


class Killed(BaseException):
    """Stands for a process that ends: nothing in the package catches it."""


class DiesAt(InFlight):
    """Saves at every step and dies after some number of them."""

    steps_left = 0

    def save(self, restored: list[Tensor], state: ChainState) -> None:  # type: ignore[override]
        super().save(restored, state)
        self.steps_left -= 1
        if self.steps_left == 0:
            raise Killed


@pytest.fixture(scope="module")
def windows() -> tuple[Tensor, Tensor, list[int]]:
    generator = torch.Generator().manual_seed(0)
    known = torch.rand((WINDOWS, 3, 16, 16), generator=generator) * 2 - 1
    keep = torch.rand((WINDOWS, 1, 16, 16), generator=generator) > 0.4
    return known, keep, [sample_key(0, f"id-{i}") for i in range(WINDOWS)]


@pytest.mark.parametrize("sampler", [RePaint(10, 2, 3), PRESETS["draft"]], ids=["repaint", "draft"])
@pytest.mark.parametrize("dies_at", [1, 7, 32])
def test_a_killed_chain_goes_on(
    place: Place, tiny_prior: str, windows: tuple[Tensor, Tensor, list[int]], sampler: RePaint, dies_at: int
) -> None:
    known, keep, keys = windows
    pipeline = RePaintPipeline.from_prior(load_prior(PriorConfig(source=tiny_prior), Storage()))
    uri, work = inflight_uri(place.uri, "job", 3), work_on(windows, "prior")
    whole = pipeline.restore(known, keep, keys, sampler=sampler, batch_windows=BATCH)

    dying = DiesAt(uri, place.storage, work, every_s=0)
    dying.steps_left = dies_at
    with pytest.raises(Killed):
        pipeline.restore(known, keep, keys, sampler=sampler, batch_windows=BATCH, checkpoint=dying)

    steps = []
    going_on = InFlight(uri, place.storage, work, every_s=3600)
    going_on.save = lambda restored, state: steps.append(state.position)  # type: ignore[method-assign]
    found = pipeline.restore(known, keep, keys, sampler=sampler, batch_windows=BATCH, checkpoint=going_on)
    assert torch.equal(found, whole)
    total = sampler.positions * 3
    assert len(steps) == total - dies_at, "no step is done twice and none is left out"


def work_on(windows: tuple[Tensor, Tensor, list[int]], prior: str, **changed: Any) -> str:
    """Return the hash of the work on five windows of one picture."""
    known, keep, keys = windows
    plan = tuple(Window(16 * i, 0, 16, (16 * i, 0, 16 * i + 16, 16)) for i in range(WINDOWS))
    picture = Unrestored(known.movedim(1, -1).numpy(), keep[:, 0].numpy(), plan, 1, keys)
    return work_of([replace(picture, **changed)], prior)


def test_the_state_of_other_work_is_not_used(place: Place, windows: tuple[Tensor, Tensor, list[int]]) -> None:
    known, keep, keys = windows
    state = ChainState(4, torch.ones(2, 3, 16, 16))
    InFlight(f"{place.uri}/state", place.storage, work_on(windows, "prior"), every_s=0).save([], state)
    others = (
        work_on(windows, "another"),
        work_on((-known, keep, keys), "prior"),
        work_on((known, ~keep, keys), "prior"),
        work_on((known, keep, keys[::-1]), "prior"),
        work_on(windows, "prior", orientation=3),
        work_on(windows, "prior", plan=(Window(0, 0, 16, (0, 0, 16, 16)),) * WINDOWS),
    )
    for other in others:
        assert InFlight(f"{place.uri}/state", place.storage, other, every_s=0).load() == (None, None)
    same = InFlight(f"{place.uri}/state", place.storage, work_on(windows, "prior"), every_s=0)
    restored, found = same.load()
    assert restored is None
    assert found is not None
    assert found.position == same.resumed_at == 4
    assert torch.equal(found.x_t, state.x_t)


def test_nothing_is_saved_before_its_time(local_place: Place) -> None:
    uri = f"{local_place.uri}/state"
    slow = InFlight(uri, local_place.storage, "work", every_s=0.2)
    slow.save([], ChainState(1, torch.ones(1)))
    assert not local_place.storage.exists(uri)
    time.sleep(0.25)
    slow.save([], ChainState(2, torch.ones(1)))
    slow.save([], ChainState(3, torch.ones(1)))
    _, found = InFlight(uri, local_place.storage, "work", every_s=1).load()
    assert found is not None
    assert found.position == 2
