"""Waits minutes for a store that is away, with growing pauses. Only this module waits; its callers do not try again."""

import contextlib
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

from repaint_batch.errors import Stopped, StoreUnavailable
from repaint_batch.store_errors import Kind, Trouble

_FIRST_S, _LONGEST_S = 1.0, 60.0
_FIRST_SHARE, _LONGEST_SHARE = 1 / 60, 1 / 10  # of all patience, where that is short
_STRANGER_S = 5.0
_SILENT_S = 5.0  # of one request, from which on it is said what is waited for
_LONG_TRY_S = 5.0  # as timeouts make them
_log = logging.getLogger(__name__)
_T = TypeVar("_T")

STOP = threading.Event()
"""While it is set nobody in this process waits for a store: who does, or would, raises Stopped."""


@contextlib.contextmanager
def interrupted_everywhere() -> Iterator[None]:
    """Let Ctrl-C, which Python tells the main thread alone, end the waits of all threads; others could hold up its leaving."""
    before = signal.getsignal(signal.SIGINT)
    # Shells start what is in the background with the signal ignored.
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        STOP.set()
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        STOP.clear()


class Unanswered(Exception):
    """A try that got no answer and may get one later.

    Attributes:
        trouble: what came instead.
        cause: the error that said so.
        is_stranger: whether the store has never served this client, whose settings may be wrong: it is not waited for long.
    """

    def __init__(self, trouble: Trouble, cause: Exception, *, is_stranger: bool = False) -> None:
        super().__init__(trouble.words)
        self.trouble, self.cause, self.is_stranger = trouble, cause, is_stranger


def pauses(total_s: float) -> Iterator[float]:
    """Yield pauses in seconds, without end: each twice as long as the one before, up to a minute or a tenth of `total_s`."""
    pause_s, longest_s = min(_FIRST_S, total_s * _FIRST_SHARE), min(_LONGEST_S, total_s * _LONGEST_SHARE)
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, longest_s)


class Silence:
    """Says of calls that take long what is being waited for, from one thread for all of them: once a minute and store."""

    def __init__(self, after_s: float = _SILENT_S) -> None:
        self._after_s, self._lock = after_s, threading.Lock()
        self._calls: dict[object, tuple[float, str, str]] = {}
        self._told: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def over(self, store: str, what: str) -> Iterator[None]:
        """Make a call; it is told of if it lasts."""
        call = object()
        with self._lock:
            self._calls[call] = time.monotonic(), store, what
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, daemon=True, name="silence")
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._calls[call]

    def overdue(self, now: float) -> list[str]:
        """Return what is to be said at a time, in seconds of `time.monotonic`."""
        said = []
        with self._lock:
            for began, store, what in self._calls.values():
                if now - began >= self._after_s and now - self._told.get(store, -_LONGEST_S) >= _LONGEST_S:
                    self._told[store] = now
                    said.append(f"{what}: {store} has not answered for {now - began:.0f} s; still waiting")
        return said

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            for line in self.overdue(time.monotonic()):
                _log.warning("%s", line)


_SILENCE = Silence()


@dataclass(frozen=True)
class _GivenUp:
    """A store that was waited for in vain.

    Attributes:
        trouble: what came instead of answers.
        total_s: for how long.
        until: in seconds of `time.monotonic`; it is not asked again before.
    """

    trouble: Trouble
    total_s: float
    until: float


class Patience:
    """Waits for one store on behalf of all threads of a process, and says so once an outage.

    A store that was given up is not waited for again, by any thread that would wait as long or less, until it has answered. Where
    packets vanish, every try costs its whole timeout: it is asked anew only after twice the time of the last try.

    Args:
        store: what to call it in messages.
        client: says who asks it.
    """

    def __init__(self, store: str, client: Callable[[], str] = lambda: "this client") -> None:
        self.store, self._client = store, client
        self._lock, self._waiting = threading.Lock(), 0
        self._has_answered = False
        self._given_up: _GivenUp | None = None

    def wait_for(self, call: Callable[[], _T], total_s: float, what: str) -> _T:
        """Return what `call` does; while it raises Unanswered it is called again.

        Args:
            call: may be called many times.
            total_s: seconds of patience, from now on; a call that is under way when they are over is not cut short.
            what: URI and action, for messages.

        Raises:
            StoreUnavailable: it was Unanswered to the end.
            Stopped: `STOP` was set.
        """
        began, given_up = time.monotonic(), self._given_up
        if given_up is not None and total_s <= given_up.total_s and began < given_up.until:
            raise self._unavailable(what, given_up.trouble, given_up.total_s)
        try:
            return self._asked(call, what)
        except Unanswered as error:
            first = error
        if given_up is not None and total_s <= given_up.total_s:
            raise self._gave_up(what, first, given_up.total_s, began) from first.cause
        total_s = min(total_s, _STRANGER_S) if first.is_stranger else total_s
        return self._waited(call, total_s, what, first, began)

    def _waited(self, call: Callable[[], _T], total_s: float, what: str, last: Unanswered, began: float) -> _T:
        until = began + total_s
        stray = 1 if self._has_answered else 0  # tries that may go astray before anything is said
        with contextlib.ExitStack() as told:
            for tried, pause_s in enumerate(pauses(total_s)):
                left_s = until - time.monotonic()
                if left_s <= 0:  # raised in here, where it does not look as if the store had answered
                    raise self._gave_up(what, last, total_s, began) from last.cause
                if tried == stray:
                    told.enter_context(self._telling(what, total_s, last.trouble))
                # Workers that lost the store together do not come back together.
                if STOP.wait(min(pause_s * random.uniform(0.75, 1), left_s)):
                    raise Stopped(f"{what}: told to stop while waiting for {self.store} ({last.trouble.words})")
                began = time.monotonic()
                try:
                    return self._asked(call, what)
                except Unanswered as error:
                    last = error
        raise AssertionError("pauses have no end")

    def _asked(self, call: Callable[[], _T], what: str) -> _T:
        with _SILENCE.over(self.store, what):
            try:
                answer = call()
            except Unanswered:
                raise
            except OSError:  # such as that there is no such object
                self._has_answered, self._given_up = True, None
                raise
        self._has_answered, self._given_up = True, None
        return answer

    @contextlib.contextmanager
    def _telling(self, what: str, total_s: float, trouble: Trouble) -> Iterator[None]:
        """Log that the store is waited for unless another thread has, and that the last who waited is served again."""
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                _log.warning("%s: waiting for %s, at most %g s: %s", what, self.store, total_s, trouble.words)
        is_served = False
        try:
            yield
            is_served = True
        finally:
            with self._lock:
                self._waiting -= 1
                if is_served and self._waiting == 0:
                    _log.warning("%s answers again", self.store)

    def _gave_up(self, what: str, last: Unanswered, total_s: float, began: float) -> StoreUnavailable:
        """Return what to raise after a last try, which `began` then, and remember that the store was given up."""
        now, before = time.monotonic(), self._given_up
        took_s = now - began
        longest_s = total_s if before is None else max(total_s, before.total_s)
        self._given_up = _GivenUp(last.trouble, longest_s, now + (2 * took_s if took_s >= _LONG_TRY_S else 0))
        return self._unavailable(what, last.trouble, total_s)

    def _unavailable(self, what: str, trouble: Trouble, waited_s: float) -> StoreUnavailable:
        does = {
            Kind.SILENT: "does not answer as it should",
            Kind.UNTRUSTED: f"does not accept {self._client()}",
            Kind.UNVERIFIED: "has a certificate that is not trusted here",
            Kind.REFUSED: "refuses what it allowed before",
        }[trouble.kind]
        return StoreUnavailable(
            f"{what} failed: {self.store} {does}, and {waited_s:g} s of patience are over: {trouble.words}; "
            f"{trouble.advice}, then start this again: what is done stays done"
        )
