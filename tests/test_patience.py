"""Waiting: how long, with what pauses, and until when."""

import itertools
import logging
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repaint_batch import patience
from repaint_batch.errors import Stopped, StoreUnavailable
from repaint_batch.patience import Patience, Unanswered, interrupted_everywhere, pauses
from repaint_batch.store_errors import Kind, Trouble

SILENT = Trouble(Kind.SILENT, 'SlowDown, "Please reduce your request rate."', "SlowDown")


class Store:
    """Answers after so many tries."""

    def __init__(self, failures: float, trouble: Trouble = SILENT) -> None:
        self.failures, self.trouble, self.asked = failures, trouble, 0

    def ask(self) -> str:
        """Return the answer or raise."""
        self.asked += 1
        if self.asked <= self.failures:
            raise Unanswered(self.trouble, OSError("so"))
        return "answer"


@given(total_s=st.floats(0.1, 1e5))
def test_pauses_grow_and_stay_short(total_s: float) -> None:
    found = list(itertools.islice(pauses(total_s), 40))
    assert found == sorted(found)
    assert max(found) <= min(60, total_s / 10) * 1.0001
    assert all(after <= 2 * before for before, after in itertools.pairwise(found))


def test_pauses_of_the_default() -> None:
    assert list(itertools.islice(pauses(600), 9)) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_what_answers_in_time_is_returned(failures: int) -> None:
    store = Store(failures)
    assert Patience("it").wait_for(store.ask, 1, "s3://b/k: read") == "answer"
    assert store.asked == failures + 1


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (
            SILENT,
            'it does not answer as it should, and 0.2 s of patience are over: SlowDown, "Please reduce your request rate."; see',
        ),
        (
            Trouble(Kind.UNTRUSTED, "ExpiredToken: so", "ExpiredToken"),
            "does not accept this client, .*; renew the credentials, th",
        ),
        (Trouble(Kind.UNTRUSTED, "x", "RequestTimeTooSkewed"), "set the clock of this machine right, then"),
        (Trouble(Kind.REFUSED, "x", "AccessDenied"), "refuses what it allowed before, .*; give back the permission, then"),
        (Trouble(Kind.SILENT, "x", "QuotaExceeded"), "make room in it, then start this again: what is done stays done$"),
    ],
)
def test_the_end_of_patience_says_what_and_where_and_what_to_do(
    trouble: Trouble, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(float("inf"), trouble)
    with pytest.raises(StoreUnavailable, match=rf"^s3://b/k: read failed: .*{says}") as caught:
        Patience("it").wait_for(store.ask, 0.2, "s3://b/k: read")
    assert store.asked > 1
    assert str(caught.value.__cause__) == "so"
    assert "answers again" not in caplog.text


def test_a_request_that_goes_astray_is_told_only_of_a_store_that_has_never_answered(caplog: pytest.LogCaptureFixture) -> None:
    waiting = Patience("it")
    for told in (2, 0):
        caplog.clear()
        assert waiting.wait_for(Store(1).ask, 1, "x") == "answer"
        assert len(caplog.messages) == told  # that it is waited for, and that it answers again


def test_without_patience_there_is_one_try() -> None:
    store = Store(1)
    with pytest.raises(StoreUnavailable):
        Patience("it").wait_for(store.ask, 0, "x")
    assert store.asked == 1


def test_a_try_that_took_longer_than_there_is_patience_is_the_last() -> None:
    store = Store(float("inf"))

    def slow() -> str:
        time.sleep(0.1)
        return store.ask()

    with pytest.raises(StoreUnavailable):
        Patience("it").wait_for(slow, 0.05, "x")
    assert store.asked == 1


def test_other_errors_are_raised_at_once() -> None:
    def wrong() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        Patience("it").wait_for(wrong, 600, "x")


@pytest.mark.timeout(60)
def test_a_stop_ends_the_wait() -> None:
    store = Store(float("inf"))
    threading.Timer(0.3, patience.STOP.set).start()
    try:
        with pytest.raises(Stopped, match="told to stop while waiting for it"):
            Patience("it").wait_for(store.ask, 600, "x")
        with pytest.raises(Stopped):
            Patience("it").wait_for(Store(1).ask, 600, "x")
    finally:
        patience.STOP.clear()


def test_a_store_that_was_given_up_is_not_waited_for_again_until_it_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONG_TRY_S", 0.1)
    waiting, store = Patience("it"), Store(float("inf"))

    def ask_in_vain() -> str:
        time.sleep(0.2)
        return store.ask()

    with pytest.raises(StoreUnavailable, match=r"0\.3 s of patience are over"):
        waiting.wait_for(ask_in_vain, 0.3, "s3://b/1: read")
    asked = store.asked
    with pytest.raises(StoreUnavailable, match=r"s3://b/2: write failed: .* 0\.3 s of patience are over"):
        waiting.wait_for(ask_in_vain, 0.3, "s3://b/2: write")
    assert store.asked == asked, "its packets vanish: a try costs a timeout"
    time.sleep(0.45)
    with pytest.raises(StoreUnavailable):
        waiting.wait_for(ask_in_vain, 0.3, "s3://b/3: read")
    assert store.asked == asked + 1, "now and then it is asked once"
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"0\.6 s"):
        waiting.wait_for(ask_in_vain, 0.6, "s3://b/4: read")
    assert time.monotonic() - began >= 0.5, "who has more patience waits for the rest of it"
    store.failures = 0
    time.sleep(0.45)
    assert waiting.wait_for(ask_in_vain, 0.3, "s3://b/5: read") == "answer"
    store.failures = store.asked + 2
    assert waiting.wait_for(store.ask, 5, "s3://b/6: read") == "answer", "that was another outage"


def test_who_gives_up_soon_does_not_make_others_wait_again() -> None:
    waiting, store = Patience("it"), Store(float("inf"))
    both = threading.Barrier(2, timeout=10)

    def ask_late() -> str:
        if store.asked == 0:
            store.asked += 1
            both.wait()  # both have begun before anybody has given up
            both.wait()
        return store.ask()

    with ThreadPoolExecutor(1) as pool:
        hasty = pool.submit(waiting.wait_for, ask_late, 0, "s3://b/1: save")
        both.wait()
        with pytest.raises(StoreUnavailable):
            waiting.wait_for(store.ask, 0.5, "s3://b/2: read")
        both.wait()
        assert isinstance(hasty.exception(), StoreUnavailable)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"0\.5 s of patience"):
        waiting.wait_for(store.ask, 0.4, "s3://b/3: read")
    assert time.monotonic() - began < 0.3, "it had been given up after half a second"


def test_a_store_that_refuses_at_once_is_asked_by_everybody_though_given_up() -> None:
    waiting, store = Patience("it"), Store(float("inf"))
    for number in range(3):
        asked = store.asked
        with pytest.raises(StoreUnavailable):
            waiting.wait_for(store.ask, 0.1, f"s3://b/{number}: read")
        assert store.asked > asked
    assert store.asked == asked + 1


@pytest.mark.timeout(60)
def test_ctrl_c_ends_the_waits_of_other_threads(request: pytest.FixtureRequest) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has ignored by what it starts with &
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    waits: list[Future[str]] = []

    def wait_in_threads() -> None:
        with interrupted_everywhere(), ThreadPoolExecutor(2) as pool:
            waits.extend(pool.submit(Patience("it").wait_for, Store(float("inf")).ask, 600, "x") for _ in range(2))
            time.sleep(0.3)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        wait_in_threads()
    for wait in waits:
        assert isinstance(wait.exception(), Stopped)
    assert not patience.STOP.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_outage_is_told_once_whoever_waits(caplog: pytest.LogCaptureFixture) -> None:
    answers = threading.Event()
    waiting = Patience("the store")

    def ask() -> str:
        if not answers.is_set():
            raise Unanswered(SILENT, OSError("so"))
        return "answer"

    with caplog.at_level(logging.WARNING):
        threads = [threading.Thread(target=waiting.wait_for, args=(ask, 60, f"s3://b/{i}: read")) for i in range(6)]
        for thread in threads:
            thread.start()
        while not caplog.messages:
            time.sleep(0.05)
        time.sleep(0.5)
        answers.set()
        for thread in threads:
            thread.join()
    first, last = caplog.messages
    assert "waiting for the store, at most 60 s: SlowDown" in first
    assert last == "the store answers again"
