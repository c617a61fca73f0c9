"""The Dockerfile, by hadolint and by what it promises."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from .conftest import INFRA, ROOT

FILE = INFRA / "docker" / "Dockerfile"
TEXT = FILE.read_text()


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    """Lint a Dockerfile; the binary may be beside the interpreter and not on the PATH."""
    beside = Path(sys.executable).parent / "hadolint"
    binary = str(beside) if beside.exists() else shutil.which("hadolint")
    assert binary is not None, "hadolint is missing: pip install -e '.[test]'"
    return subprocess.run([binary, "--no-color", str(path)], capture_output=True, text=True)


def test_lints() -> None:
    done = hadolint(FILE)
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
    assert old in TEXT
    broken = tmp_path / "Dockerfile"
    broken.write_text(TEXT.replace(old, new))
    done = hadolint(broken)
    assert done.returncode != 0
    assert rule in done.stdout


def test_base_is_pinned_and_user_is_not_root() -> None:
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert bases == ["python:3.11.14-slim-bookworm"] * 2
    assert re.findall(r"^USER (\S+)", TEXT, re.MULTILINE) == ["1000:1000"]
    last = TEXT.rpartition("\nFROM ")[2]
    assert "USER" in last


def test_hosts_that_vanish_are_noticed() -> None:
    said = re.findall(r"RAY_grpc_client_keepalive_(time|timeout)_ms=(\d+)", TEXT)
    assert said == [("time", "20000"), ("timeout", "20000")]


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


def test_what_is_copied_exists_and_is_sent() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert {"pyproject.toml", "infra/constraints.txt", "repaint_batch", "jobs", "configs"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


def test_nothing_else_is_sent() -> None:
    for name in (".git", ".env", "infra/.env", "tests", "data", "repaint_batch/__pycache__", "configs/.env", "restored"):
        assert ignored(name), name


def test_nothing_is_installed_but_by_the_constraints() -> None:
    installs = re.findall(r"pip install (?!.*--no-index)(.+?)(?: \\)?$", TEXT, re.MULTILINE)
    assert len(installs) == 2
    assert all("-c constraints.txt" in line for line in installs)


def test_images_are_named_by_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    files = [path for path in INFRA.rglob("*") if path.suffix in {"", ".md", ".yaml"} and path.is_file()]
    named = {tag for path in files for tag in re.findall(r"repaint-batch:([\w.]+)-[cg]pu|newTag: ([\w.]+)-gpu", path.read_text())}
    assert {tag for pair in named for tag in pair if tag} == {version}
