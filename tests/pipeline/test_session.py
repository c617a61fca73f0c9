"""What a local cluster leaves behind."""

import os
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
