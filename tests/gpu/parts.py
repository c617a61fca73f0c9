"""Parts that run one after the other, whatever becomes of each: guarded, timed, written down as they find something."""

import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import torch
import torch._dynamo

_AGAIN_S = 5.0  # an alarm that something swallowed rings again


@dataclass(frozen=True)
class Found:
    """One finding.

    Attributes:
        name: of what.
        value: a number, or words.
        unit: of the number.
        ok: whether it is as it must be; None where it is a figure.
    """

    name: str
    value: float | int | str
    unit: str = ""
    ok: bool | None = None


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Attributes:
        device: ``cuda``, ``cuda:1``, ``cpu``.
        tiny: small networks and few repeats, to rehearse.
        compiles: whether what takes a compiler is done.
        output: folder for results.
        until: when to stop, on the clock of `time.time`.
    """

    device: torch.device
    tiny: bool
    compiles: bool
    output: Path
    until: float

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def of(self, full: int, tiny: int) -> int:
        """Return a size: `full`, or `tiny` in a rehearsal."""
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Part:
    """One of the parts.

    Attributes:
        run: yields what it finds.
        limit_s: longest that it may take.
    """

    run: Callable[[Setting], Iterator[Found]]
    limit_s: float

    @property
    def name(self) -> str:
        return self.run.__name__


class TooLong(BaseException):
    """A part's time is over. No Exception, so that no part takes it for its own."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1), _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Notes:
    """Results on disk and on standard output, line by line."""

    def __init__(self, folder: Path) -> None:
        self._lines = folder / "results.jsonl"
        self._table = folder / "table.md"
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, part: str, found: Found) -> None:
        """Write a finding."""
        with open(self._lines, "a", encoding="utf-8") as file:
            file.write(json.dumps({"part": part, **asdict(found)}) + "\n")
        mark = {None: "", True: "ok  ", False: "FAIL"}[found.ok]
        print(f"{part:<14} {mark:<4} {found.name:<58} {_shown(found.value)} {found.unit}", flush=True)

    def all(self) -> list[dict[str, object]]:
        """Return everything that was written."""
        return [json.loads(line) for line in self._lines.read_text(encoding="utf-8").splitlines()] if self._lines.exists() else []

    def tabulate(self) -> None:
        """Write everything found so far as a table."""
        rows = ["| part | | what | found |", "| --- | --- | --- | --- |"]
        for line in self.all():
            mark = {None: "", True: "ok", False: "**FAIL**"}[line["ok"]]  # type: ignore[index]
            rows.append(f"| {line['part']} | {mark} | {line['name']} | {_shown(line['value'])} {line['unit']} |")
        self._table.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_part(part: Part, setting: Setting, notes: Notes) -> None:
    """Run a part within its time, and write down what it finds and how it ends."""
    started = time.time()
    # A rehearsal shares its processor with whatever else runs there: its times say nothing.
    limit = min(part.limit_s * (20 if setting.tiny else 1), setting.until - started)
    if limit <= 0:
        notes.write(part.name, Found("left out", "no time left"))
        return
    try:
        with _limited(limit):
            for found in part.run(setting):
                notes.write(part.name, found)
    except TooLong:
        notes.write(part.name, Found("ended", f"after its {limit:.0f} s", ok=False))
    except Exception as error:  # whatever it is, the next part goes on
        with open(setting.output / "errors.txt", "a", encoding="utf-8") as file:
            file.write(f"== {part.name}\n{traceback.format_exc()}\n")
        notes.write(part.name, Found(type(error).__name__, str(error).strip()[:300].replace("\n", " "), ok=False))
    torch._dynamo.reset()  # or networks of later parts would be run uncompiled, once there have been too many
    notes.write(part.name, Found("took", round(time.time() - started, 1), "s"))
    notes.tabulate()


def run_parts(parts: Sequence[Part], setting: Setting, restart: Callable[[str], None]) -> bool:
    """Run parts; return whether nothing failed.

    Args:
        parts: in this order.
        setting: where.
        restart: starts the process anew after the part of that name: once a CUDA error sticks, nothing succeeds any more.
    """
    notes = Notes(setting.output)
    for part in parts:
        run_part(part, setting, notes)
        if setting.is_cuda:
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            except RuntimeError as error:
                notes.write(part.name, Found("the device is lost", str(error).split("\n")[0], ok=False))
                restart(part.name)
    return not any(line["ok"] is False for line in notes.all())
