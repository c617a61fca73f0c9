"""Two drivers are kept apart, and a dead one is not waited for."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repaint_batch.errors import LeaseHeld
from repaint_batch.jobs.interruption import interrupt_main
from repaint_batch.jobs.lease import Generation, Holder, Lease

from ..conftest import Place

JOB = "0123456789abcdef"
TTL_S = 2.0


def lease(place: Place, **settings: Any) -> Lease:
    return Lease(place.uri, JOB, place.storage, **{"ttl_s": TTL_S, "renewal_s": 0.2, **settings})


def elsewhere(**changes: Any) -> Holder:
    """Return a holder of which this machine cannot know whether it lives."""
    return replace(Holder.of_this_process(), host="another-machine", machine="another boot", **changes)


def leave_behind(place: Place, holder: Holder, number: int = 1) -> None:
    """Put a lease there that nobody renews."""
    left = Generation(number, holder, ttl_s=TTL_S)
    uri = f"{place.uri}/jobs/{JOB}/lease/{number:08d}.json"
    assert place.storage.create(uri, left.to_json())


def test_one_driver_at_a_time(place: Place) -> None:
    with lease(place) as first:
        started = time.monotonic()
        with pytest.raises(LeaseHeld, match=rf"process {first.holder.pid} on .* is running this job.*repaint-batch stop"):
            lease(place, holder=elsewhere()).__enter__()
        assert time.monotonic() - started < TTL_S * 3, "a holder that renews is believed as soon as it does"
        first.check()
    with lease(place) as second:
        found = second.newest()
        assert found is not None
        assert (found.number, found.holder, found.released) == (2, second.holder, False)
    found = second.newest()
    assert found is not None
    assert found.released


def test_of_racing_drivers_one_wins(place: Place) -> None:
    start, refused = threading.Barrier(5), threading.Semaphore(0)

    def drive(_: int) -> bool:
        start.wait()
        try:
            with lease(place, holder=elsewhere(token=str(threading.get_ident()))):
                # Held until every other has been refused; a second winner would wait for a refusal that never comes.
                return all(refused.acquire(timeout=15) for _ in range(4))
        except LeaseHeld:
            refused.release()
            return False

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(drive, range(5))) == [False] * 4 + [True]


def test_a_silent_holder_is_followed_after_its_time(place: Place) -> None:
    leave_behind(place, elsewhere())
    started = time.monotonic()
    with lease(place) as taken:
        assert time.monotonic() - started >= TTL_S
        found = taken.newest()
        assert found is not None
        assert found.number == 2


def test_a_wrong_clock_decides_nothing(local_place: Place) -> None:
    with lease(local_place, holder=elsewhere()) as first:
        uri = f"{local_place.uri}/jobs/{JOB}/lease/00000001.json"
        found = first.newest()
        assert found is not None
        local_place.storage.write(uri, found.to_json().replace(found.expires_at[:4].encode(), b"1999"))
        with pytest.raises(LeaseHeld):
            lease(local_place).__enter__()


def test_a_killed_process_of_this_machine_is_not_waited_for(place: Place) -> None:
    script = f"""
import sys, time
from repaint_batch.config import StorageConfig
from repaint_batch.jobs.lease import Lease
from repaint_batch.storage import Storage
storage = Storage(StorageConfig.model_validate_json({place.config.model_dump_json()!r}))
with Lease({place.uri!r}, {JOB!r}, storage):
    print("held", flush=True)
    time.sleep(600)
"""
    driver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"held\n"
    driver.send_signal(signal.SIGKILL)
    time.sleep(0.2)  # not waited for: a process that nobody has reaped is dead all the same
    watching = lease(place)
    found = watching.newest()
    assert found is not None
    assert found.holder.pid == driver.pid
    assert found.holder.is_dead
    started = time.monotonic()
    with watching:
        assert time.monotonic() - started < found.ttl_s / 2
    driver.wait()


def test_a_number_given_to_another_process_is_not_taken_for_it() -> None:
    mine = Holder.of_this_process()
    assert not mine.is_dead
    assert replace(mine, started=mine.started - 1).is_dead
    assert not replace(mine, started=mine.started - 1, machine="elsewhere").is_dead
    assert not replace(mine, started=0, machine="").is_dead, "a system that does not tell is believed"


def test_who_lost_it_is_told(place: Place) -> None:
    def work() -> None:
        with lease(place, holder=elsewhere()) as paused:
            paused.check()
            leave_behind(place, elsewhere(pid=77), number=2)
            for _ in range(100):
                paused.check()
                time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool, pytest.raises(LeaseHeld, match="process 77 on another-machine has taken this job over"):
        pool.submit(work).result()
    found = lease(place).newest()
    assert found is not None
    assert (found.number, found.released) == (2, False), "who lost it leaves the new holder's alone"


@pytest.mark.parametrize("sigint", [signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def test_the_main_thread_is_interrupted(local_place: Place, request: pytest.FixtureRequest, sigint: Any) -> None:
    before = signal.signal(signal.SIGINT, sigint)  # which a shell has ignored by what it starts with &
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def work() -> None:
        with lease(local_place):
            leave_behind(local_place, elsewhere(pid=77), number=2)
            time.sleep(30)

    started = time.monotonic()
    with pytest.raises(LeaseHeld, match="process 77 on another-machine has taken this job over"):
        work()
    assert time.monotonic() - started < 15
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    interrupt_main()  # comes too late, and does nothing


def test_people_are_told_who_works_on_a_job() -> None:
    here, dead = Holder.of_this_process(), replace(Holder.of_this_process(), started=1)
    late = Generation(1, elsewhere(), expires_at="2020-01-01T00:00:00+00:00")
    on_time = replace(late, expires_at="2999-01-01T00:00:00+00:00")
    told = [one.words for one in (Generation(1, here), Generation(1, here, released=True), Generation(1, dead), late, on_time)]
    assert [words.removeprefix(f"process {here.pid} on ") for words in told] == [
        f"{here.host} works on it",
        "nobody works on it",
        f"{here.host} has died; nobody works on it",
        "another-machine is silent; nobody works on it since 2019-12-31 23:59 UTC",
        "another-machine works on it",
    ]
