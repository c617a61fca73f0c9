"""Finding processes, to kill them: by what they are called, or by the connection that a request came over. Linux only."""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

_ESTABLISHED = "01"


def kill(pid: int) -> bool:
    """End a process so that nothing in it gets to know; return whether it was there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def children(parents: Iterable[int]) -> dict[int, str]:
    """Return the live children of some processes, with the names that they show."""
    wanted, found = set(parents), {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) in wanted and state not in "ZX":
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def owner_of(port: int, server_port: int, candidates: Iterable[int]) -> int | None:
    """Return which of the candidates holds the connection from a local port to a server's."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *others = line.split()
        ends = (int(local.split(":")[1], 16), int(remote.split(":")[1], 16))
        if ends == (port, server_port) and state == _ESTABLISHED:
            socket = f"socket:[{others[5]}]"
            return next((pid for pid in candidates if socket in _open_files(pid)), None)
    return None


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry))
    return found
