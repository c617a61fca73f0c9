"""What actors say of their devices comes back whole, and adds up."""

import time
from dataclasses import asdict

import pytest

from repaint_batch.jobs.usage import Usage, read_usage, write_usage
from repaint_batch.outputs.status import JobStatus, device_status, read_device_status

from ..conftest import Place
from ..publishing import plan_of

FULL, HALF = Usage(100, 400, 4, 10.0, 10.0, 5, 2), Usage(100, 200, 4, 5.0, 10.0, 7, 1)


def test_what_an_actor_said_last_is_read(place: Place) -> None:
    write_usage(place.uri, "job", "node/1", asdict(HALF), place.storage)
    write_usage(place.uri, "job", "node/1", asdict(FULL), place.storage)
    write_usage(place.uri, "job", "node/2", asdict(Usage(0, 0, 4, 0.0, 0.0, 9, 1)), place.storage)
    write_usage(place.uri, "another", "node/1", asdict(HALF), place.storage)
    (read,) = read_usage(place.uri, "job", place.storage)
    assert (read.worker, read.used, read.waiting) == ("node-1", 400, 5)
    assert abs(read.said_at - time.time()) < 3600


def test_actors_add_up_and_those_that_have_gone_hold_nothing(local_place: Place) -> None:
    plan = plan_of(local_place, rows=8)
    assert read_device_status(local_place.uri, JobStatus(plan, 0, 0), local_place.storage) is None
    for worker, usage in (("node/1", FULL), ("node/2", HALF)):
        write_usage(local_place.uri, plan.job_id, worker, asdict(usage), local_place.storage)
    said = read_usage(local_place.uri, plan.job_id, local_place.storage)
    under_way, done = JobStatus(plan, 0, 0), JobStatus(plan, plan.shards, plan.rows)
    now_s = max(usage.said_at for usage in said)
    for job, at, waiting, parcels in ((under_way, now_s, 12, 3), (under_way, now_s + 3600, 0, 0), (done, now_s, 0, 0)):
        found = device_status(job, said, at)
        assert found is not None
        assert (found.actors, found.windows_waiting, found.parcels) == (2, waiting, parcels)
        assert (found.slots_used, found.device_waits) == (pytest.approx(0.75), pytest.approx(0.25))
