"""What holds for every file of infra/ and for the configs that jobs are started with."""

import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from repaint_batch.config import JobConfig, load_config
from repaint_batch.errors import ConfigError
from repaint_batch.nights.config import NightConfig

from .conftest import INFRA, ROOT

FILES = sorted(path for path in INFRA.rglob("*") if path.is_file() and "__pycache__" not in path.parts and path.name != ".env")
each = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(INFRA)) for path in FILES])

_PATH = re.compile(r"(?<![\w/.:-])((?:jobs|configs|infra|tests|repaint_batch)/[\w./-]*\.\w+)(?![\w(])")
_IMAGE = re.compile(r"(?:^|\s)(?:image:|FROM)\s+([\w./-]+(?::[\w.-]+)?)", re.MULTILINE)
_SECRETS = {
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "token of a known maker": re.compile(r"\b(?:hf_|ghp_|glpat-|xox[abp]-)\w{10,}"),
    "credentials in a URI": re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
    "value of a secret": re.compile(r"(?i)(?:secret|token|password|access_key)\w*[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9+/]{16,}"),
}


def missing_paths(text: str) -> list[str]:
    """Return paths of the repository that a text names and that are not there."""
    named = (found.rstrip(".") for found in _PATH.findall(text))
    return [path for path in named if not (ROOT / path).exists() and path != "infra/.env"]


def secrets_in(text: str) -> list[str]:
    """Return the kinds of secret that stand in a text."""
    return [kind for kind, pattern in _SECRETS.items() if pattern.search(text)]


def loose_images(text: str) -> list[str]:
    """Return images without a tag, or with one that moves."""
    return [image for image in _IMAGE.findall(text) if ":" not in image or image.endswith(":latest")]


@each
def test_paths_exist(path: Path) -> None:
    assert missing_paths(path.read_text()) == []


@each
def test_no_secrets(path: Path) -> None:
    assert secrets_in(path.read_text()) == []


@each
def test_images_are_pinned(path: Path) -> None:
    assert loose_images(path.read_text()) == []


@each
def test_what_listens_everywhere_asks_for_a_token(path: Path) -> None:
    text = path.read_text()
    if re.search(r"dashboard-host[=:]\s*\"?0\.0\.0\.0", text):
        assert re.search(r"RAY_AUTH_MODE: token|authOptions:\s+mode: token", text)


def test_these_checks_can_fail() -> None:
    assert missing_paths("python jobs/not_there.py --config configs/nightly-s3.yaml") == ["jobs/not_there.py"]
    assert secrets_in("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCY") == ["value of a secret"]
    assert secrets_in("key: AKIAIOSFODNN7EXAMPLE") == ["AWS access key"]
    assert secrets_in("redis://user:word@host/") == ["credentials in a URI"]
    assert secrets_in("RAY_AUTH_TOKEN: ${RAY_AUTH_TOKEN:?set it in infra/.env}") == []
    assert loose_images("image: redis\nFROM a/b:latest\nimage: c:1.2") == ["redis", "a/b:latest"]


def test_the_files_name_what_they_run() -> None:
    named = {found for path in FILES for found in _PATH.findall(path.read_text())}
    configs = {f"configs/{name}.yaml" for name in ("nightly-s3", "restore-s3", "restore-compose")}
    assert configs | {"jobs/restore_dataset.py", "jobs/nightly_cleanup.py"} <= named


@pytest.mark.parametrize("name", ["restore-compose", "restore-local", "restore-s3"])
def test_job_configs_are_understood(name: str) -> None:
    config = load_config(ROOT / "configs" / f"{name}.yaml", JobConfig)
    assert config.output.uri


@pytest.mark.parametrize("name", ["nightly-local", "nightly-s3"])
def test_night_configs_are_understood(name: str) -> None:
    config = load_config(ROOT / "configs" / f"{name}.yaml", NightConfig)
    if name == "nightly-s3":
        assert config.compute.num_gpus == 1, "an autoscaled cluster may have no GPU when a job starts"


@pytest.fixture(scope="module")
def resume_failed() -> ModuleType:
    spec = importlib.util.spec_from_file_location("resume_failed", ROOT / "jobs" / "resume_failed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "of"), [("resume-local", "restore-local"), ("resume-s3", "restore-s3")])
def test_resume_configs_name_the_output_of_their_job(name: str, of: str, resume_failed: ModuleType) -> None:
    config = load_config(ROOT / "configs" / f"{name}.yaml", resume_failed.ResumeConfig)
    assert config.output == load_config(ROOT / "configs" / f"{of}.yaml", JobConfig).output.uri


def test_a_mistyped_resume_config_is_refused(tmp_path: Path, resume_failed: ModuleType) -> None:
    path = tmp_path / "resume.yaml"
    path.write_text("outptu: x\n")
    with pytest.raises(ConfigError, match="outptu: unknown key; known keys: output, endpoint_url"):
        load_config(path, resume_failed.ResumeConfig)


def test_resuming_where_no_job_ever_ran(tmp_path: Path, resume_failed: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert resume_failed.finish(resume_failed.ResumeConfig(output=str(tmp_path / "nothing"))) == 1
    assert " ".join(capsys.readouterr().err.split()).count("no job was ever planned there") == 1


def test_a_config_that_is_not_there_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["resume_failed.py", "--config", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(ROOT / "jobs" / "resume_failed.py"), run_name="__main__")
    assert leaving.value.code == 2
    assert "cannot read the config" in capsys.readouterr().err
