"""What is said while a command works in silence."""

import time

import pytest

from repaint_batch.cli.waiting import waiting


def test_a_spinner_says_for_how_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich that is a terminal
    said = ""
    with waiting("loading", after_s=0.01) as say:
        say("looking")
        for _ in range(1000):
            said += capsys.readouterr().err
            if "looking … 0 s" in said:
                break
            time.sleep(0.01)
    assert "looking … 0 s" in said


def test_what_takes_long_is_said_and_what_does_not_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("loading", after_s=60):
        pass
    assert capsys.readouterr().err == ""
    said = ""
    with waiting("loading", after_s=0.01):
        for _ in range(1000):
            said += capsys.readouterr().err
            if said:
                break
            time.sleep(0.01)
    assert said == "loading … 0 s\n"
