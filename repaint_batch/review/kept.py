"""Values that take long to make, kept for whoever asks again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Makes each value once, whoever asks for it meanwhile waits; keeps those that were asked for last, but no None. For several
    threads.

    Args:
        make: makes the value of a key. What it raises is raised to all who wait, and forgotten.
        most: weight of the values that are kept; the last one made is kept, whatever it weighs.
        weight: of a value.
    """

    def __init__(self, make: Callable[[K], V], most: float, weight: Callable[[V], float] = lambda value: 1) -> None:
        self._make, self._most, self._weight = make, most, weight
        self._lock = Lock()
        self._values: OrderedDict[K, Future[V]] = OrderedDict()
        self._weights: dict[K, float] = {}

    def __getitem__(self, key: K) -> V:
        """Return the value of a key."""
        with self._lock:
            known = self._values.get(key)
            value = self._values.setdefault(key, Future())
            self._values.move_to_end(key)
        if known is None:
            try:
                made = self._make(key)
            except BaseException as error:
                with self._lock:
                    del self._values[key]
                value.set_exception(error)
                raise
            value.set_result(made)
            self._weigh(key, made)
        return value.result()

    def _weigh(self, key: K, made: V) -> None:
        with self._lock:
            if made is None:  # what cannot be had now may be had later
                del self._values[key]
                return
            self._weights[key] = self._weight(made)
            # What is still being made weighs nothing yet.
            for old in [old for old in self._values if old in self._weights and old != key]:
                if sum(self._weights.values()) <= self._most:
                    return
                del self._values[old], self._weights[old]
