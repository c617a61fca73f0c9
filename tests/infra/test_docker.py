"""The Dockerfiles, by hadolint and by what they promise."""

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .conftest import INFRA, ROOT

FILES = sorted((INFRA / "docker").iterdir())
each = pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    """Lint a Dockerfile; the binary may be beside the interpreter and not on the PATH."""
    beside = Path(sys.executable).parent / "hadolint"
    binary = str(beside) if beside.exists() else shutil.which("hadolint")
    assert binary is not None, "hadolint is missing: pip install -e '.[test]'"
    return subprocess.run([binary, "--no-color", str(path)], capture_output=True, text=True)


def test_there_is_one_for_gpus_and_one_for_cpus() -> None:
    assert [path.name for path in FILES] == ["Dockerfile", "Dockerfile.cpu"]


@each
def test_lints(path: Path) -> None:
    done = hadolint(path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("python:3.11.14-slim-bookworm", "python:latest", "DL3007"),
        ("    && rm -rf /var/lib/apt/lists/* \\\n", "", "DL3009"),
        ("WORKDIR /app", "WORKDIR app", "DL3000"),
        ("USER 1000:1000", "USER root", "DL3002"),
        ('ENTRYPOINT ["tini", "--"]', "ENTRYPOINT tini --", "DL3025"),
    ],
)
def test_a_broken_one_does_not(old: str, new: str, rule: str, tmp_path: Path) -> None:
    text = FILES[0].read_text()
    assert old in text
    broken = tmp_path / "Dockerfile"
    broken.write_text(text.replace(old, new))
    done = hadolint(broken)
    assert done.returncode != 0
    assert rule in done.stdout


@each
def test_base_is_pinned_and_user_is_not_root(path: Path) -> None:
    text = path.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases == ["python:3.11.14-slim-bookworm"] * 2
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["1000:1000"]
    last = text.rpartition("\nFROM ")[2]
    assert "USER" in last


def test_hosts_that_vanish_are_noticed_alike_on_all_nodes() -> None:
    said = [re.findall(r"RAY_grpc_client_keepalive_(time|timeout)_ms=(\d+)", path.read_text()) for path in FILES]
    assert said == [[("time", "20000"), ("timeout", "20000")]] * len(FILES)


def ignored(name: str) -> bool:
    """Return whether .dockerignore keeps a path of the root out; the last line that matches decides."""
    kept_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = pattern.lstrip("!").removeprefix("**/")
        parts = [name, *Path(name).parts] if "**" in pattern else [name, *(str(parent) for parent in Path(name).parents)]
        if any(fnmatch(part, wanted) for part in parts if part != "."):
            kept_out = not pattern.startswith("!")
    return kept_out


@each
def test_what_is_copied_exists_and_is_sent(path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert {"pyproject.toml", "repaint_batch", "jobs", "configs"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


def test_nothing_else_is_sent() -> None:
    for name in (".git", ".env", "infra/.env", "tests", "data", "repaint_batch/__pycache__", "configs/.env", "restored"):
        assert ignored(name), name


def test_torch_is_the_one_that_the_package_asks_for() -> None:
    (wanted,) = re.findall(r'"torch([^"]+)"', (ROOT / "pyproject.toml").read_text())
    for path in FILES:
        (pinned,) = re.findall(r'pip install "torch==([0-9.]+)\.\*"', path.read_text())
        assert Version(f"{pinned}.0") in SpecifierSet(wanted)
