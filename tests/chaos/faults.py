"""What goes wrong between, and on, the hosts of a lab."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from .hosts import Scenario
from .lab import DRIVER, HEAD, WORKERS, Fault, Lab
from .network import Host

_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
_DISK = "/mnt"
Begin = Callable[[Lab, Host], None]


def _from_store(*, out: bool = True, back: bool = True) -> Begin:
    """Cut the host off the store: its requests, the answers, or both."""
    return lambda lab, host: host.cut(lab.cluster.store, out=out, back=back)


def _from(number: int, *, out: bool = True, back: bool = True) -> Begin:
    return lambda lab, host: host.cut(lab.cluster.hosts[number], out=out, back=back)


def _between(one: int, other: int) -> Begin:
    return lambda lab, host: lab.cluster.hosts[one].cut(lab.cluster.hosts[other])


def _off(lab: Lab, host: Host) -> None:
    """Cut a host off everybody."""
    for other in (lab.cluster.store, *lab.cluster.hosts.values()):
        host.cut(other)


def _store_off(lab: Lab, host: Host) -> None:
    """Cut the store off everybody."""
    for other in lab.cluster.hosts.values():
        lab.cluster.store.cut(other)


def _all(**what: float) -> Callable[[Lab], None]:
    """Make every way like this."""

    def begin(lab: Lab) -> None:
        everybody = [lab.cluster.store, *lab.cluster.hosts.values()]
        for one in everybody:
            for other in everybody:
                for name, value in what.items():
                    setattr(lab.cluster.switch.link(one.number, other.number), name, value)

    return begin


def _harm_requests(lab: Lab) -> None:
    lab.proxy.rate = 0.08


def _vanish(number: int | None = None) -> Begin:
    """Let a host vanish: this one, or the one whose request it is."""
    return lambda lab, host: (lab.cluster.hosts[number] if number else host).vanish()


def _clock(number: int, offset: str) -> Callable[[Lab], None]:
    faked = {"LD_PRELOAD": _FAKETIME, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    return lambda lab: lab.cluster.restart(number, faked)


def _right_clock(number: int) -> Begin:
    return lambda lab, host: lab.cluster.restart(number)


def _room(lab: Lab, host: Host) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", _DISK], check=True)


def _no_room(lab: Lab) -> None:
    subprocess.run(["mount", "-o", "remount,size=128k", _DISK], check=True)


def _fill_tmp(lab: Lab, host: Host) -> None:
    """Leave nothing of /tmp, where Ray keeps its logs, its sockets and what it spills."""
    host.popen("sh", "-c", "cat /dev/zero > /tmp/full", log=None)


def _empty_tmp(lab: Lab, host: Host) -> None:
    subprocess.run(host.command("rm", "-f", "/tmp/full"), check=False)


A, B = WORKERS
CALM = Fault("none")
NO_STORE = Fault("worker cut off the store", _from_store())
NO_REQUESTS = Fault("worker's requests to the store lost", _from_store(back=False))
NO_ANSWERS = Fault("store's answers to the worker lost", _from_store(out=False))
NO_DRIVER = Fault("worker cut off the driver", _from(DRIVER))
NOT_TO_DRIVER = Fault("worker heard by no driver", _from(DRIVER, back=False))
NOT_FROM_DRIVER = Fault("worker hears no driver", _from(DRIVER, out=False))
NO_HEAD = Fault("worker cut off the head", _from(HEAD), lasts_s=15.0)
NO_WORKER = Fault("workers cut off each other", _between(A, B))
DRIVER_NO_HEAD = Fault("driver cut off the head", _between(DRIVER, HEAD))
DRIVER_NO_STORE = Fault("driver cut off the store", lambda lab, host: lab.cluster.hosts[DRIVER].cut(lab.cluster.store))
ALONE = Fault("worker cut off everybody", _off, lasts_s=15.0)
ZOMBIE = Fault("zombie: cut off until its work was done again", _off, lasts_s=None)
STORE_AWAY = Fault("store cut off, 8 s", _store_off)
STORE_LONG_AWAY = Fault("store cut off beyond patience", _store_off, lasts_s=None, settings={"storage": {"patience_s": 6.0}})
LOSS = Fault("20 % of packets lost", before=_all(lost=0.2))
DELAY = Fault("300 ms each way", before=_all(delay_s=0.3))
SLOW = Fault("1 Mbit/s", before=_all(rate=125_000))
GONE = Fault("worker vanishes and comes back", _vanish())
DRIVER_GONE = Fault("driver vanishes and comes back", _vanish(DRIVER), lasts_s=1.0)
HEAD_GONE = Fault("head lost and replaced", _vanish(HEAD), lasts_s=None)
REQUESTS = Fault("8 % of requests harmed", before=_harm_requests)
TMP_FULL = Fault("worker's /tmp full", _fill_tmp, _empty_tmp)
DISK_FULL = Fault("disk of the output full", end=_room, lasts_s=None, output=f"{_DISK}/out", before=_no_room)
CLOCKS = [
    Fault(f"{who}'s clock {offset}", end=_right_clock(number), before=_clock(number, offset), lasts_s=None,
          settings={"storage": {"patience_s": 6.0}})
    for who, number in (("worker", A), ("driver", DRIVER)) for offset in ("+1d", "-1d")
]  # fmt: skip

SHORT = [
    Scenario(NO_ANSWERS, "committing"),
    Scenario(NO_DRIVER, "uploading"),
    Scenario(GONE, "reading"),
    Scenario(ZOMBIE, "committing"),
]
LONG = [
    Scenario(CALM, "never"),
    *(Scenario(fault, phase) for fault in (NO_STORE, NO_REQUESTS, NO_ANSWERS)
      for phase in ("reading", "checkpointing", "uploading", "committing")),
    *(Scenario(fault, phase) for fault in (NO_DRIVER, NOT_TO_DRIVER, NOT_FROM_DRIVER, NO_HEAD)
      for phase in ("reading", "acknowledging")),
    *(Scenario(fault, "sampling") for fault in (NO_WORKER, ALONE)),
    *(Scenario(fault, phase) for fault in (DRIVER_NO_HEAD, DRIVER_NO_STORE) for phase in ("reading", "publishing")),
    *(Scenario(ZOMBIE, phase) for phase in ("uploading", "committing", "acknowledging")),
    *(Scenario(STORE_AWAY, phase) for phase in ("starting", "reading", "sampling", "uploading", "committing", "publishing")),
    *(Scenario(STORE_LONG_AWAY, phase) for phase in ("reading", "sampling", "uploading", "committing", "publishing")),
    *(Scenario(GONE, phase) for phase in ("reading", "sampling", "uploading", "committing", "acknowledging")),
    *(Scenario(DRIVER_GONE, phase) for phase in ("reading", "publishing")),
    *(Scenario(HEAD_GONE, phase) for phase in ("sampling", "publishing")),
    *(Scenario(fault, "never") for fault in (LOSS, DELAY, SLOW, REQUESTS)),
    Scenario(TMP_FULL, "reading"),
    Scenario(DISK_FULL, "starting"),
    *(Scenario(fault, "starting") for fault in CLOCKS if Path(_FAKETIME).exists()),
]  # fmt: skip
LONG += [
    Scenario(fault, phase, "moto")
    for fault, phase in ((CALM, "never"), (NO_ANSWERS, "committing"), (ZOMBIE, "committing"), (GONE, "uploading"),
                         (STORE_LONG_AWAY, "publishing"), (REQUESTS, "never"))
]  # fmt: skip
