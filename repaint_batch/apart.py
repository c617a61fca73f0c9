"""Functions of strangers' bytes, called in child processes that hold no credentials.

A malformed picture may crash a decoder, let it hang or fill the memory, or hand control to whoever made the picture. In a child
it costs one answer: the child is ended and another one started. A child gets of the environment what decoding needs and
nothing else, so that keys to a store are not there to be found. Requests are pickled, because they are ours; answers are bytes
and a line of JSON, because a child that has been taken over writes what it likes.
"""

import contextlib
import json
import os
import pickle
import queue
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import IO, Any

from repaint_batch import errors
from repaint_batch.errors import SampleError, WorkerKilled

Parts = Sequence[bytes | None]
Call = Callable[..., Parts]
"""Calls a function that returns parts with arguments: an `Apart`, or what does so in this process."""

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
_SECONDS = 120  # a call may take; a decoder that takes longer hangs
_MEMORY_BYTES = 16 * 2**30  # of address space: three times what the largest picture that is read takes
_MOST_BYTES = 2**32  # of a request or an answer
_LENGTH = struct.Struct("<Q")
_MOST_PROCESSES = 4


class Apart:
    """Calls functions in child processes, which are started when they are needed; several threads may call at once.

    Args:
        processes: how many there are at most; by default as many as this machine has processors, and no more than four.
    """

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or min(os.cpu_count() or 1, _MOST_PROCESSES)
        self._free: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(self.processes):
            self._free.put(None)

    def __call__(self, function: Callable[..., Parts], *arguments: Any) -> list[bytes | None]:
        """Return what `function` returns: bytes, or None, one after the other.

        Args:
            function: at the top of a module.
            arguments: what pickle takes.

        Raises:
            SampleError: as `function` raises it, or in place of any other error that it raises.
            WorkerKilled: it has ended its process, or did not come back.
        """
        request = pickle.dumps((function.__module__, function.__qualname__, arguments))
        child, answer = self._free.get(), None
        try:
            if child is None or child.poll() is not None:  # ended while it was idle, by whoever needed memory
                child = _started()
            answer = _asked(child, request)
        finally:
            if answer is None and child is not None:
                _ended(child)
            self._free.put(None if answer is None else child)
        if answer is None:
            raise WorkerKilled(f"{function.__name__} ended the process that decoded these bytes, or took over {_SECONDS} s")
        return _parts(*answer)

    def close(self) -> None:
        """End the children, each as soon as it is idle."""
        for child in [self._free.get() for _ in range(self.processes)]:
            if child is not None:
                _ended(child)
            self._free.put(None)

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _started() -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept,
        cwd="/",
        start_new_session=True,  # a Ctrl-C ends the parent, and that ends the child
    )


def _ended(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _asked(child: subprocess.Popen[bytes], request: bytes) -> tuple[dict[str, Any], bytes] | None:
    """Return what a child answers: what it says of its parts, and the parts; None: it has ended."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        _send(child.stdin, request)
        said, body = _received(child.stdout), _received(child.stdout)
        return None if said is None or body is None else (json.loads(said), body)
    except (OSError, ValueError):
        return None


def _parts(said: dict[str, Any], body: bytes) -> list[bytes | None]:
    if "raised" in said:
        kind = getattr(errors, str(said["raised"]), SampleError)
        raise (kind if issubclass(kind, SampleError) else SampleError)(str(said["message"]))
    parts: list[bytes | None] = []
    at = 0
    for size in said["sizes"]:
        parts.append(None if size is None else body[at : at + size])
        at += size or 0
    return parts


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes | None:
    """Return what comes next through a pipe; None: it has been closed."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length) if length <= _MOST_BYTES else b""
    return data if len(data) == length else None


def serve() -> None:
    """Answer requests until there are no more: what a child does."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    cap = _MEMORY_BYTES if most == resource.RLIM_INFINITY else min(most, _MEMORY_BYTES)
    with contextlib.suppress(ValueError, OSError):  # not every system can
        resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # some decoders print
    while (request := _received(sys.stdin.buffer)) is not None:
        module, name, arguments = pickle.loads(request)
        signal.alarm(_SECONDS)  # ends this process: Python could not interrupt a decoder
        said, body = _answer(getattr(import_module(module), name), arguments)
        signal.alarm(0)
        _send(answers, json.dumps(said).encode())
        _send(answers, body)


def _answer(function: Callable[..., Parts], arguments: tuple[Any, ...]) -> tuple[dict[str, Any], bytes]:
    try:
        parts = function(*arguments)
    except SampleError as error:
        return {"raised": type(error).__name__, "message": str(error)}, b""
    except Exception as error:  # decoders raise what they like
        return {"raised": "SampleError", "message": f"unexpected {type(error).__name__}: {error}"}, b""
    return {"sizes": [None if part is None else len(part) for part in parts]}, b"".join(part or b"" for part in parts)
