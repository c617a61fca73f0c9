"""Drivers that are asked to stop: who is asked, what they see of it, and how their end is told."""

from pathlib import Path

from repaint_batch.jobs.lease import NIGHT_LEASE, Generation, Lease
from repaint_batch.jobs.stop_request import drivers, request_stop

from ..conftest import Place
from .test_lease import JOB, elsewhere, lease, leave_behind


def test_whoever_holds_a_lease_is_asked_and_the_next_one_is_not(place: Place) -> None:
    assert request_stop(place.uri, place.storage) == []
    with lease(place) as first, Lease(place.uri, NIGHT_LEASE, place.storage) as night:
        assert not first.is_asked_to_stop()
        asked = request_stop(place.uri, place.storage)
        assert [driver.lease.job_id for driver in asked] == [JOB, NIGHT_LEASE]
        assert first.is_asked_to_stop()
        assert night.is_asked_to_stop()
    assert [driver.ended() for driver in asked] == ["stopped", "stopped"]
    assert drivers(place.uri, place.storage) == []
    with lease(place) as second:
        assert not second.is_asked_to_stop(), "the request was to the one before"


def test_a_driver_that_says_nothing_any_more(local_place: Place) -> None:
    leave_behind(local_place, elsewhere())
    (asked,) = request_stop(local_place.uri, local_place.storage)
    assert "another-machine" in asked.words
    assert asked.ended() == "silent"
    path = Path(local_place.uri) / "jobs" / JOB / "lease" / "00000001.json"
    path.write_bytes(Generation(1, elsewhere(), released=True).to_json())
    assert asked.ended() == "stopped"
