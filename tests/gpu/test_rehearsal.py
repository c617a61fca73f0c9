"""The one command for a GPU, rehearsed without one, in a process that has none of what may be missing there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .networks import faces, guided

_BLOCKED = """
import runpy, sys
for name in ("ray", "deltalake", "s3fs", "imagecodecs", "tifffile", "typer", "rich", "matplotlib"):
    sys.modules[name] = None
import torch
if sys.argv[1] == "uncompiled":
    torch.compiler.set_stance("force_eager")  # every line of it, without the minutes that a compiler takes
asked = sys.argv[2:]
for more in (["--child", "compile:faces:2"], asked):
    sys.argv = ["tests.gpu", "--device", "cpu", "--tiny", *more]
    try:
        runpy.run_module("tests.gpu", run_name="__main__")
    except SystemExit as ended:
        if ended.code or more is asked:
            raise
"""


def _rehearsed(folder: Path, how: str, *more: str) -> dict[str, list[dict[str, object]]]:
    command = [sys.executable, "-c", _BLOCKED, how, "--minutes", "14", "--output", str(folder), *more]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=870)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return {part: [line for line in lines if line["part"] == part] for part in {line["part"] for line in lines}}


def test_every_part_runs_without_what_may_be_missing(tmp_path: Path) -> None:
    found = _rehearsed(tmp_path, "uncompiled")
    assert len(found) == 22
    assert all(lines[-1]["name"] == "took" for lines in found.values())
    assert not [line for lines in found.values() for line in lines if line["ok"] is False]
    checked = {part for part, lines in found.items() if any(line["ok"] for line in lines)}
    assert checked >= {"noise", "golden", "independence", "no_waits", "memory", "auto_batch", "neighbours"}
    assert {part for part, lines in found.items() if lines[0]["name"] == "left out"} == {"job", "second_device"}
    assert (tmp_path / "table.md").read_text().startswith("| part |")


@pytest.mark.slow
def test_every_part_that_compiles_runs(tmp_path: Path) -> None:
    parts = ["independence_compiled", "steps_faces", "rival", "steps_guided_compiled", "layouts_compiled", "profiled"]
    found = _rehearsed(tmp_path, "compiled", "--only", *parts)
    assert set(found) == set(parts)
    assert not [line for lines in found.values() for line in lines if line["ok"] is False or line["name"] == "left out"]


def test_networks_have_the_sizes_that_they_stand_for() -> None:
    with torch.device("meta"):
        sizes = [sum(parameter.numel() for parameter in make(False).parameters()) for make in (faces, guided)]
    assert [round(size / 1e6, 1) for size in sizes] == [113.7, 552.8]
