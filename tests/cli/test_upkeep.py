"""Looking after an output from the command line: what is printed, and the exit codes."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from repaint_batch.cli import run
from repaint_batch.config import StorageConfig

from ..conftest import Place
from ..corpus import job, rows, save_tiny_prior, write_manifest
from ..restored import restore_here


def said(*arguments: str) -> tuple[int, str]:
    """Return the exit code and what was printed."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        code = run(list(arguments))
    return code, " ".join(text.getvalue().split())


@pytest.fixture
def output(tmp_path: Path) -> str:
    place = Place(str(tmp_path), StorageConfig())
    corpus = rows(3)
    corpus[1]["image"] = {"bytes": b"broken", "path": None}
    config = job(place, write_manifest(place, corpus), save_tiny_prior(tmp_path / "prior"), output={"images": "files"})
    restore_here(config)
    return config.output.uri


def test_a_day_in_the_life_of_an_output(output: str, tmp_path: Path) -> None:
    code, text = said("verify", output)
    assert (code, text.endswith("no problems")) == (0, True), text
    assert "3 rows of 3 planned: 2 ok, 0 skipped, 1 failed" in text

    code, text = said("replay", output, "picture-0000")
    assert code == 0
    assert "picture-0000: equal" in text

    trace = tmp_path / "trace.gif"
    code, text = said("replay", output, "picture-0002", "--trace", str(trace))
    assert (code, f"trace: {trace}" in text) == (0, True), text
    with Image.open(trace) as gif:
        assert (gif.n_frames, gif.size) == (30, (192, 192)), "one picture, every step of the cheapest preset"
    assert said("replay", output, "picture-0002", "--trace", "trace.mp4")[0] == 2

    lost = Path(output, "images", "lost-0.png")
    lost.write_bytes(b"12345")
    assert said("clean", output) == (0, "nothing to clean")
    code, text = said("clean", output, "--older-than-hours", "0")
    assert "would delete (add --delete): 1 objects of 5 bytes: 1 image" in text
    assert lost.exists()
    code, text = said("clean", output, "--older-than-hours", "0", "--delete")
    assert "deleted: 1 objects" in text
    assert not lost.exists()

    letters = str(tmp_path / "failed.parquet")
    code, text = said("export", output, "--failed", "--to", letters)
    assert f"1 failed rows in {letters}" in text
    assert f"needs {tmp_path} in storage.allow" in text


def test_a_version_is_returned_to(output: str) -> None:
    code, text = said("history", output)
    assert (code, "0 " in text) == (0, True)
    assert "job" in text
    assert "3 rows, 1 of them failed" in text
    code, text = said("rollback", output, "--to", "0")
    assert (code, "is back at version 0: 0 ok, 0 skipped, 0 failed (version 2)" in text) == (0, True), text
    assert "jobs withdrawn: " in text
    code, text = said("rollback", output, "--to", "1")
    assert "2 ok, 0 skipped, 1 failed (version 3) jobs reinstated: " in text
    assert "rolled back to version 0" in said("history", output)[1]
    assert said("rollback", output, "--to", "17")[0] == 2


def test_problems_exit_with_1(output: str) -> None:
    first, _ = sorted(Path(output, "images").iterdir())
    first.write_bytes(b"not what was written")
    code, text = said("verify", output)
    assert code == 1
    assert "1 problems: 1 hash" in text
    code, text = said("verify", output, "--json")
    found = json.loads(text)
    assert (code, found["problems"], found["kinds"]) == (1, 1, {"hash": 1})
    assert found["first_problems"][0]["sample_id"] == "picture-0000"


def test_what_cannot_be_honoured(output: str, tmp_path: Path) -> None:
    assert said("replay", output, "picture-0001")[0] == 2, "a failed row has no bytes to compare"
    assert said("replay", output, "nobody")[0] == 1
    assert said("export", output, "--failed", "--to", str(tmp_path / "failed.csv"))[0] == 2
    assert said("export", output, "--failed", "--masks", "--to", str(tmp_path / "failed.parquet"))[0] == 2
    code, text = said("verify", str(tmp_path / "nowhere"))
    assert (code, "holds no results to verify" in text) == (1, True)
