"""What a local cluster leaves behind."""

import os
import sys
from pathlib import Path

import pytest

from repaint_batch.pipeline import run as run_module


@pytest.mark.parametrize("is_there", [False, True])
def test_a_local_cluster_leaves_no_token_in_the_home_folder(
    is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_AUTH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    if is_there:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("another program's")
    run_module._use_own_token()
    assert ("RAY_AUTH_TOKEN" in os.environ) is not is_there, "Ray makes one in the home folder where there is none"


def test_while_ray_starts_its_core_is_not_heard_and_this_program_is(capfd: pytest.CaptureFixture[str]) -> None:
    with run_module._quiet_core():
        os.write(2, b"the core\n")
        print("starting", file=sys.stderr, flush=True)
    print("started", file=sys.stderr)
    assert capfd.readouterr().err == "starting\nstarted\n"
