"""A child that decodes: what it returns, raises and does not know, and that its end costs one answer."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repaint_batch.apart import Apart
from repaint_batch.errors import MaskInvalid, SampleError, WorkerKilled


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    with pytest.MonkeyPatch.context() as patch, Apart(1) as made:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
        yield made


def echo(*parts: bytes | None) -> tuple[bytes | None, ...]:
    print("decoders print")
    return parts


def process() -> list[bytes]:
    return [str(os.getpid()).encode(), *(f"{name}={value}".encode() for name, value in os.environ.items())]


def end(number: int) -> list[bytes]:
    os.kill(os.getpid(), number)
    return []


def refuse() -> list[bytes]:
    raise MaskInvalid("mask: no")


def fail() -> list[bytes]:
    raise ZeroDivisionError("by zero")


def test_bytes_come_back_from_a_process_without_secrets(apart: Apart) -> None:
    assert apart(echo, b"one", None, b"", b"\0" * 100_000) == [b"one", None, b"", b"\0" * 100_000]
    pid, *environment = apart(process)
    assert int(pid or b"0") != os.getpid()
    assert not [value for value in environment if value is None or b"secret" in value or value.startswith(b"AWS_")]
    assert b"a secret" not in Path(f"/proc/{int(pid or b'0')}/environ").read_bytes()


def test_what_a_function_raises_is_the_rows_fault(apart: Apart) -> None:
    with pytest.raises(MaskInvalid, match="mask: no"):
        apart(refuse)
    with pytest.raises(SampleError, match="unexpected ZeroDivisionError: by zero"):
        apart(fail)
    assert apart(echo, b"goes on") == [b"goes on"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGALRM])
def test_a_child_that_ends_costs_one_answer(apart: Apart, number: int) -> None:
    with pytest.raises(WorkerKilled, match="end ended the process that decoded these bytes"):
        apart(end, number)
    assert apart(echo, b"another") == [b"another"]


def test_threads_share_children(apart: Apart) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda n: apart(echo, b"%d" % n), range(20))) == [[b"%d" % n] for n in range(20)]


def test_no_child_is_left_behind() -> None:
    with Apart(2) as made, ThreadPoolExecutor(2) as pool:
        pids = {int(pid or b"0") for pid, *_ in pool.map(lambda _: made(process), range(8))}
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
