"""One driver a job: a lease in the job's folder, renewed by whoever runs the job.

::

    lease/00000001.json     a generation: who holds it, how often it was renewed, whether it was let go
    lease/00000001.stop     its holder is asked to stop, see `repaint_batch.jobs.stop_request`

A generation is created exclusively, so of those who want it one gets it; the newest is the one that counts. A holder that
fell silent is followed by the next generation. Whether it did is judged by watching its count of renewals for one time to
live on the onlooker's own clock, since clocks of different machines disagree. A process that is known to be dead, because
it ran on this machine, is not waited for.

The lease keeps two drivers from doing the same work. That nothing is published twice is not left to it: the ledger of the
results table sees to that, even where a holder was paused, lost its lease, and goes on for a moment. The number of its
generation is the epoch under which it commits.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from repaint_batch.errors import LeaseHeld, SourceMissing, StorageError
from repaint_batch.jobs.interruption import interrupt_main, interruptible
from repaint_batch.jobs.plan import job_uri
from repaint_batch.storage import Storage
from repaint_batch.uris import normalise

NIGHT_LEASE = "night"
"""What nights of an output take, in place of a job's id, so that there is one at a time."""
TTL_S = 30.0
RENEWAL_S = 8.0
_LOOKS_PER_TTL = 30
_DEAD_STATES = ("Z", "X")  # killed and not yet reaped, see proc(5)


@dataclass(frozen=True)
class Holder:
    """A process that may hold a lease.

    Attributes:
        host: name of its machine, for people.
        pid: its number there.
        machine: boot and pid namespace within which `pid` means something; empty where the system does not tell.
        started: clock ticks from boot to its start, which tell it from a later process of the same number.
        token: random; two leases of one process differ in it.
    """

    host: str
    pid: int
    machine: str
    started: int
    token: str

    @classmethod
    def of_this_process(cls) -> "Holder":
        """Return this process, with a new token."""
        pid = os.getpid()
        started = _started(pid) or 0
        return cls(socket.gethostname(), pid, _machine() if started else "", started, uuid.uuid4().hex)

    @property
    def is_dead(self) -> bool:
        """Whether this machine knows that the process has ended; False where it cannot know."""
        return self.machine != "" and self.machine == _machine() and _started(self.pid) != self.started


def _machine() -> str:
    # Containers on one machine share its boot and often its name, but not the numbers of their processes.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """Return when a process of this machine started, in ticks since boot; None if there is none, or no way to tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may itself hold brackets and spaces.
    state, *others = text.rpartition(")")[2].split()
    return None if state in _DEAD_STATES else int(others[18])


@dataclass(frozen=True)
class Generation:
    """One generation of a lease, as it is stored.

    Attributes:
        number: counts from 1.
        holder: whose it is.
        renewals: how often it was renewed.
        ttl_s: seconds without a renewal after which it may be followed by another.
        expires_at: the same as a time, for people; nobody decides by it.
        released: whether its holder let it go.
    """

    number: int
    holder: Holder
    renewals: int = 0
    ttl_s: float = TTL_S
    expires_at: str = ""
    released: bool = False

    @property
    def is_free(self) -> bool:
        """Whether it may be followed at once."""
        return self.released or self.holder.is_dead

    @property
    def is_heard(self) -> bool:
        """Whether its holder works, as far as can be told from here and by this machine's clock; for people."""
        return not self.is_free and not (self.expires_at and datetime.fromisoformat(self.expires_at) < datetime.now(UTC))

    @property
    def heard_at(self) -> datetime | None:
        """When its holder last said something, by its clock; None where it is not told."""
        expires_at = datetime.fromisoformat(self.expires_at) if self.expires_at else None
        return expires_at and expires_at - timedelta(seconds=self.ttl_s)

    @property
    def words(self) -> str:
        """Say who works on it, or who did."""
        at = f"process {self.holder.pid} on {self.holder.host}"
        if self.is_heard:
            return f"{at} works on it"
        became = "" if self.released else f"{at} has died; " if self.holder.is_dead else f"{at} is silent; "
        return f"{became}nobody works on it" + (f" since {self.heard_at:%Y-%m-%d %H:%M} UTC" if self.heard_at else "")

    def to_json(self) -> bytes:
        """Return what is stored, with its expiry counted from now."""
        expires_at = (datetime.now(UTC) + timedelta(seconds=self.ttl_s)).isoformat(timespec="seconds")
        return json.dumps(asdict(replace(self, expires_at=expires_at))).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Generation":
        """Return what was stored."""
        values = json.loads(data)
        return cls(holder=Holder(**values.pop("holder")), **values)


@dataclass
class Lease:
    """The right to run a job; a context manager that takes it, keeps it, and lets it go.

    Losing it, which takes a process that was paused or cut off for longer than the time to live, interrupts the main
    thread if that is where it was taken, and is raised by `check`.

    Args:
        output: folder or prefix of the output.
        job_id: the job.
        storage: how to reach it.
        holder: who takes it.
        ttl_s: seconds without a renewal after which others may take it.
        renewal_s: seconds between two renewals.
    """

    output: str
    job_id: str
    storage: Storage
    holder: Holder = field(default_factory=Holder.of_this_process)
    ttl_s: float = TTL_S
    renewal_s: float = RENEWAL_S

    def __post_init__(self) -> None:
        self.output = normalise(self.output)
        self._done = threading.Event()
        self._lost_to: Generation | None = None
        self._own: Generation | None = None
        self._interruptible = contextlib.ExitStack()

    def __enter__(self) -> "Lease":
        """Take the lease; wait for a silent holder, at most as long as its time to live.

        Raises:
            LeaseHeld: somebody else has it.
        """
        self._own = self._taken()
        self.storage = self.storage.impatient  # whoever keeps a lease comes again anyway, and whoever leaves does not wait
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._interruptible.enter_context(interruptible())
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the lease go.

        Raises:
            LeaseHeld: in place of the interruption by which its loss stopped the work.
        """
        self._done.set()
        self._thread.join(self.ttl_s)
        self._interruptible.close()
        if self._lost_to is None:
            assert self._own is not None
            # Whoever comes next finds out without this, only later.
            with contextlib.suppress(StorageError):
                self._write(replace(self._own, released=True))
        elif kind is not None and issubclass(kind, KeyboardInterrupt):
            self.check()

    @property
    def epoch(self) -> int:
        """Number of the generation that was taken; it grows from holder to holder."""
        assert self._own is not None, "the lease was not taken"
        return self._own.number

    def check(self) -> None:
        """Raise if the lease is lost.

        Raises:
            LeaseHeld: another driver has taken it.
        """
        if self._lost_to is not None:
            raise self._held_by(self._lost_to, "has taken this job over, since this driver was silent for too long;")

    def newest(self) -> Generation | None:
        """Return the generation that counts; None if the job was never leased."""
        found = [uri for uri, _ in self.storage.list(job_uri(self.output, self.job_id, "lease")) if uri.endswith(".json")]
        try:
            return Generation.from_json(self.storage.read(found[-1])) if found else None
        except SourceMissing:  # cleaned away since it was listed
            return None

    def request_stop(self, generation: Generation) -> None:
        """Ask whoever holds a generation of the lease to stop, see `repaint_batch.jobs.stop_request`."""
        self.storage.write(self._stop_uri(generation), b"stop")

    def is_asked_to_stop(self, generation: Generation | None = None) -> bool:
        """Return whether somebody has asked the holder of a generation of this lease, by default of the one taken, to stop."""
        held = generation or self._own
        assert held is not None, "the lease was not taken"
        return self.storage.exists(self._stop_uri(held))

    def _taken(self) -> Generation:
        before = self.newest()
        if before is not None and not before.is_free:
            self._outwait(before)
        own = Generation(before.number + 1 if before else 1, self.holder, ttl_s=self.ttl_s)
        self.storage.create(self._uri(own), own.to_json())
        # A store may refuse what it has just accepted, if the answer to the first try was lost. So it is asked.
        newest = self.newest()
        if newest is None or newest.holder != self.holder:
            raise self._held_by(newest, "took this job a moment ago;")
        return own

    def _outwait(self, before: Generation) -> None:
        until = time.monotonic() + before.ttl_s
        while time.monotonic() < until:
            time.sleep(before.ttl_s / _LOOKS_PER_TTL)
            now = self.newest()
            if now is None or now.number != before.number or (now.renewals != before.renewals and not now.released):
                raise self._held_by(now, "is running this job;")
            if now.is_free:
                return

    def _keep(self) -> None:
        assert self._own is not None
        while not self._done.wait(self.renewal_s):
            try:
                newest = self.newest()
                if newest is not None and newest.number > self._own.number:
                    self._lost_to = newest
                    if self._in_main_thread and not self._done.is_set():
                        interrupt_main()
                    return
                self._own = replace(self._own, renewals=self._own.renewals + 1)
                self._write(self._own)
            except Exception:  # whatever ails the store: only a newer generation ends a lease, so try again
                continue

    def _write(self, generation: Generation) -> None:
        self.storage.write(self._uri(generation), generation.to_json())

    def _uri(self, generation: Generation) -> str:
        return job_uri(self.output, self.job_id, "lease", f"{generation.number:08d}.json")

    def _stop_uri(self, generation: Generation) -> str:
        return job_uri(self.output, self.job_id, "lease", f"{generation.number:08d}.stop")

    def _held_by(self, generation: Generation | None, does: str) -> LeaseHeld:
        who = f"process {generation.holder.pid} on {generation.holder.host}" if generation else "another driver"
        return LeaseHeld(
            f"job {self.job_id} in {self.output}: {who} {does} let it finish, or stop it with "
            f"`repaint-batch stop {self.output}`; then `repaint-batch run {self.output}` goes on"
        )
