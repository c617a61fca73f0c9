"""Arguments by the names that other libraries have for them: an error that says what is meant here."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from repaint_batch.errors import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")


def hints(**meant: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator after which an unknown keyword raises a TypeError that names the right one.

    Args:
        **meant: what to say of keywords that others use; for the rest, the argument with the most similar name is told.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        known = inspect.signature(function).parameters

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in known:
                    hint = f"; {meant[name]}" if name in meant else did_you_mean(name, known)
                    raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {name!r}{hint}")
            return function(*args, **kwargs)

        return called

    return decorated
