"""Saying what a command does while it prints nothing else."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape

_FIRST_S, _AGAIN_S = 2.0, 4.0


@contextlib.contextmanager
def waiting(what: str, after_s: float = _FIRST_S) -> Iterator[Callable[[str], None]]:
    """Say on standard error what is under way, and for how long, if the block takes long.

    On a terminal it is a spinner with the seconds beside it, elsewhere a line now and then. Yields what says something else.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    done, began, said = threading.Event(), time.monotonic(), [what]
    with contextlib.ExitStack() as shown:
        if console.is_terminal:
            spinner = shown.enter_context(console.status(f"{escape(what)} …"))

        def tell() -> None:
            pause_s = after_s
            while not done.wait(pause_s):
                elapsed_s = time.monotonic() - began
                line = f"{said[-1]} … {elapsed_s:.0f} s"
                if console.is_terminal:
                    spinner.update(escape(line))
                    pause_s = 1.0
                else:
                    print(line, file=sys.stderr, flush=True)
                    pause_s = max(_AGAIN_S, min(10.0, elapsed_s / 4))

        threading.Thread(target=tell, daemon=True, name="waiting").start()
        try:
            yield said.append
        finally:
            done.set()
