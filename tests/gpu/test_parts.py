"""Whatever becomes of a part, the next one runs, and both are written down."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from .parts import Found, Part, Setting, run_parts


def _setting(folder: Path, seconds: float = 60) -> Setting:
    return Setting(torch.device("cpu"), False, False, folder, time.time() + seconds)


def breaks(setting: Setting) -> Iterator[Found]:
    yield Found("before", 1.5, "ms")
    raise ValueError("a test's own")


def hangs(setting: Setting) -> Iterator[Found]:
    while True:
        time.sleep(0.01)
    yield Found("never", 0)


def holds(setting: Setting) -> Iterator[Found]:
    yield Found("held", "", ok=True)


def _lines(folder: Path) -> list[tuple[str, str, bool | None]]:
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return [(line["part"], line["name"], line["ok"]) for line in lines if line["name"] != "took"]


def test_a_part_that_fails_or_hangs_is_recorded_and_the_next_goes_on(tmp_path: Path) -> None:
    parts = [Part(breaks, 5), Part(hangs, 0.2), Part(holds, 5)]
    assert not run_parts(parts, _setting(tmp_path), lambda done: None)
    assert _lines(tmp_path) == [
        ("breaks", "before", None),
        ("breaks", "ValueError", False),
        ("hangs", "ended", False),
        ("holds", "held", True),
    ]
    assert "a test's own" in (tmp_path / "errors.txt").read_text()
    assert "| hangs | **FAIL** | ended |" in (tmp_path / "table.md").read_text()


def test_parts_for_which_no_time_is_left_say_so(tmp_path: Path) -> None:
    assert run_parts([Part(holds, 5)], _setting(tmp_path, seconds=-1), lambda done: None)
    assert _lines(tmp_path) == [("holds", "left out", None)]
