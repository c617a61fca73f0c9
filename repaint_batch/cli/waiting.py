"""Saying what a command does while it prints nothing else."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

_FIRST_S, _AGAIN_S = 2.0, 4.0


@contextlib.contextmanager
def waiting(what: str, after_s: float = _FIRST_S) -> Iterator[None]:
    """Say on standard error what is under way if the block takes long: a spinner on a terminal, now and then a line elsewhere."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if console.is_terminal:
        with console.status(f"{escape(what)} …"):
            yield
        return
    done = threading.Event()

    def tell() -> None:
        began, pause_s = time.monotonic(), after_s
        while not done.wait(pause_s):
            print(f"{what} … {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            pause_s = max(_AGAIN_S, min(10.0, (time.monotonic() - began) / 4))

    threading.Thread(target=tell, daemon=True, name="waiting").start()
    try:
        yield
    finally:
        done.set()
