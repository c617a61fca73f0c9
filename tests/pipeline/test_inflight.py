"""States of rows under way: what is saved once is not saved again, and what is picked up is of the same work."""

from typing import Any

import numpy as np
import pytest
import torch

from repaint_batch.errors import StorageError
from repaint_batch.jobs.plan import freeze
from repaint_batch.pipeline.inflight import InFlight
from repaint_batch.pipeline.job import Job, inflight_uri
from repaint_batch.pipeline.run import plan_job
from repaint_batch.storage import Storage

from ..conftest import Place
from ..corpus import job, rows, write_manifest

R = 4


@pytest.fixture
def at(place: Place, tiny_prior: str) -> Job:
    config = job(place, write_manifest(place, rows(4)), tiny_prior)
    plan = freeze(plan_job(config, place.storage)[0], config.output.uri, place.storage)
    return Job(plan, config.output.uri, (), 16)


def window(value: float) -> np.ndarray:
    return np.full((R, R, 3), value, np.float32)


def state(value: float) -> torch.Tensor:
    return torch.full((3, R, R), value)


def objects(job: Job, row: int) -> list[str]:
    uri = inflight_uri(job.output, job.plan.job_id, row)
    return sorted(found.rsplit("/", 1)[1] for found, _ in job.storage.list(uri))


def test_what_was_saved_is_picked_up(at: Job) -> None:
    inflight = InFlight(at)
    saving = inflight.state_of(3, "work")
    assert inflight.save(saving, [{0: window(0.1)}, {}], [{1: (7, state(0.2))}, {0: (2, state(0.3))}])
    assert inflight.save(saving, [{0: window(0.1), 1: window(0.4)}, {}], [{2: (1, state(0.5))}, {0: (9, state(0.6))}])
    assert objects(at, 3) == ["chains.safetensors", "ended-000000.safetensors", "ended-000001.safetensors"]
    first, second = InFlight(at).load(InFlight(at).state_of(3, "work"), 2)
    assert {number: float(pixels.mean()) for number, pixels in first.restored.items()} == pytest.approx({0: 0.1, 1: 0.4})
    assert {number: (at_, float(x.mean())) for number, (at_, x) in first.states.items()} == {2: (1, pytest.approx(0.5))}
    assert second.restored == {}
    assert second.states[0][0] == 9
    assert inflight.rows() == {3}


def test_a_window_that_has_ended_is_written_once(at: Job) -> None:
    inflight = InFlight(at)
    saving = inflight.state_of(1, "work")
    for position in range(3):
        inflight.save(saving, [{0: window(0.1)}], [{1: (position, state(0.2))}])
    assert objects(at, 1) == ["chains.safetensors", "ended-000000.safetensors"]
    # Nor is it after an interruption: the next piece gets a name of its own.
    again = inflight.state_of(1, "work")
    inflight.load(again, 1)
    inflight.save(again, [{0: window(0.1), 1: window(0.2)}], [{}])
    assert objects(at, 1) == ["chains.safetensors", "ended-000000.safetensors", "ended-000001.safetensors"]


def test_the_state_of_other_work_is_not_used(at: Job) -> None:
    inflight = InFlight(at)
    inflight.save(inflight.state_of(2, "work"), [{0: window(0.1)}], [{1: (3, state(0.2))}])
    (found,) = inflight.load(inflight.state_of(2, "other work"), 1)
    assert (dict(found.restored), dict(found.states)) == ({}, {})


def test_a_dropped_state_is_gone_and_its_neighbours_stay(at: Job) -> None:
    inflight = InFlight(at)
    for row in (1, 11):
        inflight.save(inflight.state_of(row, "work"), [{}], [{0: (3, state(0.2))}])
    inflight.drop(1)
    assert inflight.rows() == {11}


def test_a_state_that_cannot_be_saved_ends_nothing_and_is_said_once(
    at: Job, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Storage, uri: str, data: bytes) -> Any:
        assert self.config.patience_s == 0, "rows that are done wait for a save"
        raise StorageError(f"{uri}: write failed: no space")

    inflight = InFlight(at)
    saving = inflight.state_of(0, "work")
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write", refuse)
        for position in range(3):
            assert not inflight.save(saving, [{0: window(0.1)}], [{1: (position, state(0.2))}])
    assert caplog.text.count("cannot be saved") == 1
    assert inflight.save(saving, [{0: window(0.1)}], [{1: (3, state(0.2))}])
    (found,) = inflight.load(inflight.state_of(0, "work"), 1)
    assert list(found.restored) == [0]
