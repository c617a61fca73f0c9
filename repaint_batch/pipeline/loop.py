"""The one thread of an actor that runs the network, fed by the calls that bring parcels.

A call hands over its pictures and waits; meanwhile windows of all calls share the engine's slots. So the device never waits for a
parcel to be unpacked, packed or sent on.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from repaint_batch.errors import Stopped
from repaint_batch.inpainting.restorer import Restorer, Saved, Underway, Unrestored
from repaint_batch.jobs.usage import Usage
from repaint_batch.pipeline.inflight import InFlight, RowState

_log = logging.getLogger(__name__)
_QUEUED_BATCHES = 2  # waiting in the queue, from which on more rows would only take memory
_PATIENCE_S = 600.0  # a wait for room ends by itself; then a row more takes memory
_TOLD_S = 10.0  # how often its usage is told while it works; when nothing is left it is told at once
_IDLE_S = 0.2  # how long an idle thread sleeps before it looks whether it is to stop


@dataclass(eq=False)
class Sampled:
    """One row that is being sampled.

    Attributes:
        row: its number in the manifest.
        pictures: its windows, once for every candidate.
        state: what is saved of it; None: nothing is to be.
        saved: what an interrupted run had done of every candidate.
        underway: its candidates, once they have been taken up.
    """

    row: int
    pictures: list[Unrestored]
    state: RowState | None = None
    saved: list[Saved] | None = None
    underway: list[Underway] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether every candidate has come out."""
        return bool(self.underway) and all(one.is_done for one in self.underway)


_Snapshot = tuple[RowState, list[dict[int, np.ndarray]], list[dict[int, tuple[int, Tensor]]]]


@dataclass(eq=False)
class _Call:
    rows: list[Sampled]
    windows: int
    future: "Future[None]"


class EngineLoop:
    """Runs a restorer in a thread of its own.

    Args:
        make: makes the restorer, in that thread; called with the first rows.
        inflight: where states are saved; None: nowhere.
        every_s: seconds between two saves.
        to_stop: asked after every step whether to save everything and stop.
        on_usage: told now and then what the engine has done.
    """

    def __init__(
        self,
        make: Callable[[], Restorer],
        inflight: InFlight | None,
        every_s: float,
        to_stop: Callable[[], bool] = lambda: False,
        on_usage: Callable[[Usage], None] = lambda usage: None,
    ) -> None:
        self._make, self._inflight, self._every_s = make, inflight, every_s
        self._to_stop, self._on_usage = to_stop, on_usage
        self._inbox: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._calls: list[_Call] = []
        self._owners: dict[Underway, _Call] = {}
        self._restorer: Restorer | None = None
        self._busy_s = self._first_at = self._last_at = 0.0
        self._announced = 0
        self._saved_at, self._told_at = time.monotonic(), -math.inf
        self._room = threading.Condition()
        self._saver = ThreadPoolExecutor(1, "saving")
        self._saving: Future[None] | None = None
        self._telling: Future[None] | None = None
        threading.Thread(target=self._run, daemon=True, name="engine").start()

    def _has_room(self) -> bool:
        engine = self._restorer.engine if self._restorer else None
        if engine is None or self._to_stop():
            return not self._announced or self._to_stop()
        return engine.waiting + self._announced < _QUEUED_BATCHES * engine.batch_windows

    def restore(self, make: Callable[[], list[Sampled]], windows: int) -> list[Sampled]:
        """Return rows when every window of them has ended, see `Sampled.underway`.

        Args:
            make: unpacks them; called once there is use for more, since those that would only wait take less memory packed.
            windows: that they have, about.

        Raises:
            Stopped: told to stop; their states are saved.
        """
        with self._room:
            self._room.wait_for(self._has_room, timeout=_PATIENCE_S)
            self._announced += windows
        try:
            call = _Call(make(), windows, Future())
        except BaseException:
            self._let_in(windows)
            raise
        self._inbox.put(call)
        call.future.result()
        # A save under way may be about these rows, whose states are deleted soon; and nothing is written after the last call.
        for writing in (self._saving, self._telling):
            if writing is not None:
                writing.exception()
        return call.rows

    def _let_in(self, windows: int) -> None:
        with self._room:
            self._announced -= windows
            self._room.notify_all()

    def _run(self) -> None:
        while True:
            try:
                self._turn()
            except BaseException as error:
                if not self._calls:
                    _log.exception("the engine's thread failed with nothing under way")
                for call in self._calls:
                    call.future.set_exception(error)
                self._calls, self._owners, self._restorer = [], {}, None
                with self._room:
                    self._room.notify_all()

    def _turn(self) -> None:
        self._take_in(wait=not self._calls)
        if self._to_stop() and self._calls:
            self._save()
            if self._saving is not None:
                self._saving.exception()
            raise Stopped("saved, and stopped")
        restorer = self._restorer
        if restorer is None or not self._calls:
            return
        started = time.perf_counter()
        self._first_at = self._first_at or started
        finished = restorer.step()
        with self._room:
            self._room.notify_all()
        self._last_at = time.perf_counter()
        self._busy_s += self._last_at - started
        owners = {self._owners.pop(underway): None for underway in finished}
        ended = [call for call in owners if all(row.is_done for row in call.rows)]
        for call in ended:
            self._calls.remove(call)
        if time.monotonic() - self._saved_at >= self._every_s:
            self._save()
        self._tell()
        for call in ended:
            call.future.set_result(None)

    def _tell(self) -> None:
        """Tell now and then how the device is used, and at once when nothing is left to do."""
        if not self._calls or time.monotonic() - self._told_at >= _TOLD_S:
            self._told_at = time.monotonic()
            self._telling = self._saver.submit(self._on_usage, self.usage())

    def _take_in(self, *, wait: bool) -> None:
        while True:
            try:
                call = self._inbox.get(timeout=_IDLE_S) if wait else self._inbox.get_nowait()
            except queue.Empty:
                return
            wait = False
            self._calls.append(call)
            try:
                self._take_up(call)
            finally:
                self._let_in(call.windows)

    def _take_up(self, call: _Call) -> None:
        if self._restorer is None:
            self._restorer = self._make()
        for row in call.rows:
            saved: list[Saved] | list[None] = row.saved or [None] * len(row.pictures)
            row.underway = [self._restorer.add(picture, one) for picture, one in zip(row.pictures, saved, strict=True)]
            for underway in row.underway:
                self._owners[underway] = call

    def _save(self) -> None:
        """Begin to save where every row under way stands; the engine does not wait for the store."""
        self._saved_at = time.monotonic()
        if self._inflight is None or self._restorer is None or not self._calls:
            return
        if self._saving is not None and not self._saving.done() and not self._to_stop():
            return
        states = self._restorer.states()
        found: list[_Snapshot] = []
        for row in (row for call in self._calls for row in call.rows):
            if row.state is not None and not row.is_done:
                ended = [
                    {number: pixels for number, pixels in enumerate(underway.restored.pixels) if pixels is not None}
                    for underway in row.underway
                ]
                chains = [states.get(underway, {}) for underway in row.underway]
                if any(ended) or any(chains):
                    found.append((row.state, ended, chains))
        self._saving = self._saver.submit(self._write, found)

    def _write(self, found: "list[_Snapshot]") -> None:
        assert self._inflight is not None
        for snapshot in found:
            if not self._inflight.save(*snapshot):
                return  # no other can be saved then, and rows that are done wait for this

    def usage(self) -> Usage:
        """Return what the engine has done so far."""
        engine = self._restorer.engine if self._restorer else None
        if engine is None:
            return Usage(0, 0, 0, 0.0, 0.0, 0, 0)
        span_s = self._last_at - self._first_at
        counted = engine.calls, engine.used, engine.batch_windows, self._busy_s, span_s
        return Usage(*counted, engine.waiting, len(self._calls), *engine.fed)
