"""infra/systemd, by systemd itself where it is here, and by what the units promise."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import INFRA

UNITS = INFRA / "systemd"


def unit(name: str) -> configparser.ConfigParser:
    """Return a unit file as sections of settings."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((UNITS / name).read_text())
    return parser


def verified(folder: Path, **changes: str) -> str:
    """Return what systemd says of the units, with an interpreter that exists on this machine."""
    for path in UNITS.iterdir():
        text = path.read_text().replace("/opt/repaint-batch/venv/bin/python", sys.executable)
        for old, new in changes.items():
            text = text.replace(f"{old}=", new)
        (folder / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(path) for path in folder.iterdir())], capture_output=True, text=True
    )
    # Units of the machine itself may have faults of their own.
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if "repaint-batch" in line or str(folder) in line)


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")


@needs_systemd
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    assert verified(tmp_path) == ""


@needs_systemd
@pytest.mark.parametrize(
    "change",
    [{"ProtectSystem": "ProtectSytem="}, {"OnCalendar": "OnCalendar=nightly "}, {"ExecStart": "ExecStart=not-absolute/"}],
)
def test_systemd_finds_the_faults_of_a_broken_one(change: dict[str, str], tmp_path: Path) -> None:
    assert verified(tmp_path, **change) != ""


def test_the_service_runs_the_night_once_and_confined() -> None:
    service = unit("repaint-batch.service")["Service"]
    assert service["Type"] == "oneshot"
    assert service["ExecStart"].endswith("python jobs/nightly_cleanup.py --config configs/nightly-s3.yaml")
    assert service["User"] == "repaint"
    assert service["SuccessExitStatus"] == "4"
    for setting, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "RestrictNamespaces": "yes",
        "UMask": "0077",
    }.items():
        assert service[setting] == value, setting
    assert service["EnvironmentFile"] == "-/etc/repaint-batch.env"


def test_the_timer_rings_every_night_and_catches_up() -> None:
    timer = unit("repaint-batch.timer")
    assert timer["Timer"]["OnCalendar"] == "*-*-* 01:00:00 UTC"
    assert timer["Timer"]["Persistent"] == "yes"
    assert timer["Install"]["WantedBy"] == "timers.target"
