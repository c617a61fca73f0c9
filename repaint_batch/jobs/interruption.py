"""Interrupting a driver that waits: as Ctrl-C does, and also where that is ignored, as in jobs a shell starts with ``&``."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNAL = signal.SIGUSR1
_lock = threading.Lock()
_depth = 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let `interrupt_main` raise KeyboardInterrupt in the main thread, from which this is called."""
    global _depth
    before = signal.signal(_SIGNAL, signal.default_int_handler)
    with _lock:
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
        signal.signal(_SIGNAL, before)


def interrupt_main() -> None:
    """Raise KeyboardInterrupt in the main thread, whatever it waits for, if it is `interruptible`."""
    with _lock:  # where nothing handles the signal it would end the process
        if _depth:
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
