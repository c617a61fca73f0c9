"""Hosts on one machine, and the network between them, which does what it is told: loses, delays, throttles, cuts one way.

A host is a set of namespaces (network, processes, mounts, name) with an address, a /tmp and a /dev/shm of its own, so that
whatever runs there is gone at once, and tells nobody, when its first process is killed. Every host has one network device, a TUN
whose other end is held by a switch in this process: packets between two hosts pass through a few lines of Python that know what
is wrong between these two at the moment, each way by itself. So it needs root, `unshare`, `nsenter`, `ip` and /dev/net/tun, and
neither a bridge nor `tc netem`, which many kernels come without.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import selectors
import shutil
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_TUN = "/dev/net/tun"
_SET_DEVICE, _AS_PACKETS, _WITHOUT_HEADER = 0x400454CA, 0x0001, 0x1000  # TUNSETIFF, IFF_TUN, IFF_NO_PI
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_NET = "10.77.0"
_MTU = 1500
_QUEUE_S = 1.0  # what a slow link holds back; what comes then is lost
_INIT = """
mount -t tmpfs -o size={tmp_mib}m none /tmp && mount -t tmpfs none /dev/shm && hostname {name} && ip link set lo up && echo ready
while :; do sleep 1000; done
"""


def missing() -> str | None:
    """Return why hosts cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "hosts are namespaces, which takes root"
    lacking = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if lacking:
        return f"{', '.join(lacking)} is missing (util-linux, iproute2)"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"{_TUN} is not there: the kernel has no TUN devices, or this container may not use them"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True)
    return f"unshare: {tried.stderr.decode().strip()}" if tried.returncode else None


@dataclass
class Link:
    """The way from one host to another.

    Attributes:
        is_cut: nothing comes through, and nobody is told.
        lost: share of packets that do not arrive.
        delay_s: how long they take.
        rate: bytes a second; 0: any.
    """

    is_cut: bool = False
    lost: float = 0.0
    delay_s: float = 0.0
    rate: float = 0.0
    _free_at: float = 0.0

    def arrival(self, size: int, now: float, chance: random.Random) -> float | None:
        """Return when a packet of `size` bytes that is sent now arrives; None: never."""
        if self.is_cut or (self.lost and chance.random() < self.lost):
            return None
        if self.rate:
            if self._free_at - now > _QUEUE_S:
                return None
            self._free_at = max(self._free_at, now) + size / self.rate
            now = self._free_at
        return now + self.delay_s


class Switch:
    """Carries packets between hosts, from one thread."""

    def __init__(self, seed: int = 0) -> None:
        self._chance, self._numbers = random.Random(seed), itertools.count()
        self._ends: dict[int, int] = {}
        """File of a host's device, by the last number of its address."""
        self._links: dict[tuple[int, int], Link] = {}
        self._selector = selectors.DefaultSelector()
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._lock = threading.Lock()
        self.dropped = 0
        threading.Thread(target=self._serve, daemon=True, name="switch").start()

    def plug(self, number: int, end: int) -> None:
        """Connect a host."""
        with self._lock:
            self._ends[number] = end
            self._selector.register(end, selectors.EVENT_READ, number)

    def unplug(self, number: int) -> None:
        """Disconnect it; what is on its way to it is lost."""
        with self._lock:
            if (end := self._ends.pop(number, None)) is not None:
                self._selector.unregister(end)
                os.close(end)

    def link(self, source: int, target: int) -> Link:
        """Return the way between two hosts, to be changed."""
        return self._links.setdefault((source, target), Link())

    def heal(self) -> None:
        """Let everything through again."""
        self._links = {}

    def _serve(self) -> None:
        while True:
            now = time.monotonic()
            wait_s = min(0.2, max(0.0, self._under_way[0][0] - now)) if self._under_way else 0.2
            for key, _ in self._selector.select(wait_s):
                with self._lock, contextlib.suppress(OSError):  # the host has gone, or its queue is empty
                    for _ in range(64):
                        self._take(key.data, os.read(key.fd, 2 * _MTU))
            with self._lock:
                now = time.monotonic()
                while self._under_way and self._under_way[0][0] <= now:
                    self._deliver(*heapq.heappop(self._under_way)[2:])

    def _take(self, source: int, packet: bytes) -> None:
        if packet[0] >> 4 != 4 or packet[19] not in self._ends:
            return  # IPv6's noises, or nobody's
        now = time.monotonic()
        arrival = self.link(source, packet[19]).arrival(len(packet), now, self._chance)
        if arrival is None:
            self.dropped += 1
        elif arrival <= now:
            self._deliver(packet[19], packet)
        else:
            heapq.heappush(self._under_way, (arrival, next(self._numbers), packet[19], packet))

    def _deliver(self, target: int, packet: bytes) -> None:
        if (end := self._ends.get(target)) is not None:
            with contextlib.suppress(OSError):  # full, or gone: packets get lost
                os.write(end, packet)


@dataclass
class Host:
    """A host.

    Attributes:
        name: how it is called.
        number: last number of its address.
        switch: that it hangs on.
        tmp_mib: size of its /tmp.
        environment: variables of all that runs there, beside those of this process.
    """

    name: str
    number: int
    switch: Switch
    tmp_mib: int = 512
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where others find it."""
        return f"{_NET}.{self.number}"

    def start(self) -> None:
        """Switch it on."""
        flags = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        script = _INIT.format(tmp_mib=self.tmp_mib, name=self.name)
        self._init = subprocess.Popen(["unshare", *flags, "bash", "-c", script], stdout=subprocess.PIPE)
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"ready\n", f"{self.name} did not start"
        self._pid = int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()[0])
        attach(self.switch, self.number, self._pid)

    def command(self, *words: str) -> list[str]:
        """Return what runs a command on it."""
        return ["nsenter", f"--target={self._pid}", "--net", "--mount", "--uts", "--ipc", "--pid", *words]

    def popen(self, *words: str, log: IO[bytes] | None = None, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command on it."""
        return subprocess.Popen(
            self.command(*words), stdout=log, stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **self.environment}
        )

    def vanish(self) -> None:
        """End everything on it at once, without a word to anybody."""
        self.switch.unplug(self.number)
        self._init.kill()
        self._init.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, 9)  # unshare does it too, a moment later
        for _ in range(100):
            if not Path(f"/proc/{self._pid}").exists():
                return
            time.sleep(0.05)

    def cut(self, other: "Host", *, out: bool = True, back: bool = True, is_cut: bool = True) -> None:
        """Cut the way to another host, the way back, or both; or mend them."""
        if out:
            self.switch.link(self.number, other.number).is_cut = is_cut
        if back:
            self.switch.link(other.number, self.number).is_cut = is_cut


def attach(switch: Switch, number: int, pid: int) -> None:
    """Give the network that a process is in a device at the switch, and an address."""
    ends: list[int] = []

    def make() -> None:  # in a thread of its own, which alone changes networks
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{pid}/ns/net") as network:
            if libc.setns(network.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        end = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, _SET_DEVICE, struct.pack("16sH22x", b"lan", _AS_PACKETS | _WITHOUT_HEADER))
        ends.append(end)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    settings = f"ip addr add {_NET}.{number}/24 dev lan && ip link set lan mtu {_MTU} up && ip link set lo up"
    subprocess.run(["nsenter", f"--target={pid}", "--net", "sh", "-c", settings], check=True)
    switch.plug(number, ends[0])
