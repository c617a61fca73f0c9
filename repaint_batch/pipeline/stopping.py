"""Ending a job before it is done: on SIGTERM, which `ray job stop` and service managers send, on request, or at a deadline.

The driver rings a bell. Every actor waits for it in a thread of its own, so that a thousand of them cost no polling: one
that is sampling saves the state of its rows at the next step and says so; then the driver lets go of the pass, the lease
and the cluster. What is committed stays, and the next run takes up every chain where it was saved.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayError

from repaint_batch import patience
from repaint_batch.errors import Stopped
from repaint_batch.jobs.interruption import interrupt_main, interruptible

_KILL_AFTER_S = 3.0  # what Ray gives a job between SIGTERM and SIGKILL, unless told otherwise
_LEAVE_S, _LEAVE_SHARE = 1.0, 0.25  # of that, what is kept for letting go: at least so much
_SAVE_S = 60.0  # where nobody kills the job if it takes longer
_INSIST_S = 5.0


class Bell:
    """Rings once for all who wait; an actor of Ray's. Counts who is to save something and who has."""

    def __init__(self) -> None:
        self._rung, self._waiting, self._done = asyncio.Event(), 0, 0
        self._all_done = asyncio.Event()

    async def wait(self) -> None:
        """Return when the bell has rung."""
        self._waiting += 1
        await self._rung.wait()

    async def done(self) -> None:
        """Note that one of those who waited has nothing left to save."""
        self._done += 1
        if self._done >= self._waiting:
            self._all_done.set()

    async def ring(self) -> None:
        """Wake all who wait; return when every one of them is done."""
        self._rung.set()
        if self._waiting:
            await self._all_done.wait()


class Listener:
    """An actor's ear: whether it is to stop, and its word that it has.

    Args:
        bell: a handle of a `Bell`, or None where nobody will ring.
    """

    def __init__(self, bell: Any) -> None:
        self._bell, self._lock, self._rung = bell, threading.Lock(), threading.Event()
        self._told, self._busy = False, 0
        if bell is not None:
            threading.Thread(target=self._listen, daemon=True, name="bell").start()

    @property
    def is_rung(self) -> bool:
        """Whether to save and stop."""
        return self._rung.is_set()

    def _listen(self) -> None:
        with contextlib.suppress(RayError):
            ray.get(self._bell.wait.remote())
            patience.STOP.set()  # nobody waits for a store any more
            with self._lock:
                self._rung.set()
                busy = self._busy
            if not busy:
                self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            ray.get(self._bell.done.remote())

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Work on a parcel, perhaps beside others; what is rung meanwhile is answered when the last one is left.

        Raises:
            Stopped: the bell has rung before.
        """
        with self._lock:
            if self._rung.is_set():
                raise Stopped("the job is being stopped")
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                last = self._rung.is_set() and not self._busy
            if last:
                self._tell()


class Stop:
    """What a stoppable block knows.

    Attributes:
        bell: what its actors are to hear; None where nobody will ring.
        save_s: seconds that they have to save what they are at.
    """

    def __init__(self, bell: Any = None) -> None:
        self.bell = bell
        self.save_s = _SAVE_S
        self._reason: str | None = None
        self._asked = threading.Event()

    def ask(self, reason: str) -> None:
        """Ask for the end of the block; the first reason counts."""
        self._reason = self._reason or reason

    def end(self, reason: str, save_s: float = _SAVE_S) -> None:
        """Ask for the end of the block, and see to it, from any thread.

        Args:
            reason: why, for people.
            save_s: seconds that there are to save what is under way.
        """
        self.ask(reason)
        self.save_s = save_s
        patience.STOP.set()  # nobody waits for a store any more
        self._asked.set()

    def wake(self) -> None:
        """Let whoever waits go on."""
        self._asked.set()

    def wait(self, seconds: float | None) -> None:
        """Return when `end` or `wake` was called, or after some seconds."""
        self._asked.wait(seconds)

    @property
    def asked(self) -> bool:
        """Whether the block is to end."""
        return self._reason is not None

    def check(self) -> None:
        """Raise if the block is to end.

        Raises:
            Stopped: it is.
        """
        if self._reason is not None:
            raise Stopped(f"{self._reason}; what was committed stays, and the next run goes on from there")


@contextlib.contextmanager
def stoppable(until: float | None) -> Iterator[Stop]:
    """Run a block that SIGTERM, `Stop.end` or a deadline ends.

    Args:
        until: when to stop, on the clock of `time.monotonic`; None: never.

    Raises:
        Stopped: in place of the interruption by which the block was ended.
    """
    if threading.current_thread() is not threading.main_thread():
        try:
            yield Stop()  # no signal arrives here, and nothing could be interrupted
        finally:
            patience.STOP.clear()
        return
    bell = _bell()
    stop, finished = Stop(bell), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.end("told to stop", _signal_save_s())

    def keep() -> None:
        stop.wait(None if until is None else max(0.0, until - time.monotonic()))
        if finished.is_set():
            return
        stop.ask("the deadline is reached")
        with contextlib.suppress(RayError, TimeoutError):
            ray.get(bell.ring.remote(), timeout=stop.save_s)
        while not finished.is_set():  # a library that is interrupted may keep that to itself
            interrupt_main()
            finished.wait(_INSIST_S)

    patience.STOP.clear()
    before = signal.signal(signal.SIGTERM, on_signal)
    keeper = threading.Thread(target=keep, daemon=True, name="stopping")
    keeper.start()
    try:
        with interruptible():
            yield stop
    except KeyboardInterrupt:
        finished.set()
        stop.check()
        raise
    finally:
        finished.set()
        stop.wake()
        patience.STOP.clear()
        signal.signal(signal.SIGTERM, before)
        with contextlib.suppress(RayError):
            ray.kill(bell)


def _bell() -> Any:
    """Return a bell beside the driver, so that a node that is drained or lost does not take it along."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(Bell).options(num_cpus=0, max_concurrency=100_000, scheduling_strategy=here).remote()


def _signal_save_s() -> float:
    """Return the seconds in which states must be saved after SIGTERM: what the sender gives, less what leaving takes."""
    told = os.environ.get("RAY_JOB_STOP_WAIT_TIME_S", "")
    given = float(told) if told.isdigit() else _KILL_AFTER_S
    return max(_LEAVE_S, given - max(_LEAVE_S, _LEAVE_SHARE * given))
