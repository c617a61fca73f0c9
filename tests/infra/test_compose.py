"""infra/compose.yaml, by compose-lint and by what it promises."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import INFRA, documents

FILE = INFRA / "compose.yaml"
PASSES = {"CL-0019", "CL-0007"}  # tags instead of digests; writable root file systems


def lint(path: Path) -> tuple[int, set[str]]:
    """Return compose-lint's exit code and the rules it names."""
    command = [sys.executable, "-m", "compose_lint", "check", "--no-env", "--format", "json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, set(re.findall(r"CL-\d{4}", done.stdout))


@pytest.fixture
def services() -> dict[str, Any]:
    (compose,) = documents(FILE)
    found: dict[str, Any] = compose["services"]
    return found


def test_lints() -> None:
    code, rules = lint(FILE)
    assert code == 0
    assert rules <= PASSES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('ports: ["127.0.0.1:8265:8265"]', 'ports: ["8265:8265"]'),
        ("  cap_drop: [ALL]", "  cap_drop: [ALL]\n  privileged: true"),
        ("image: chrislusf/seaweedfs:4.48", "image: chrislusf/seaweedfs:latest"),
        ('volumes: ["objects:/data"]', 'volumes: ["/var/run/docker.sock:/var/run/docker.sock"]'),
    ],
)
def test_a_broken_one_does_not(old: str, new: str, tmp_path: Path) -> None:
    text = FILE.read_text()
    assert old in text
    broken = tmp_path / "compose.yaml"
    broken.write_text(text.replace(old, new, 1))
    assert lint(broken)[1] - PASSES


def test_what_it_runs(services: dict[str, Any]) -> None:
    assert set(services) == {"seaweedfs", "ray-head", "ray-worker", "submit"}
    for name in ("seaweedfs", "ray-head", "ray-worker"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert services["submit"]["restart"] == "on-failure:3"
    assert services["submit"]["command"][-3:] == ["jobs/restore_dataset.py", "--config", "configs/restore-compose.yaml"]
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]


def test_ray_answers_nobody_without_the_token(services: dict[str, Any]) -> None:
    for name in ("ray-head", "ray-worker", "submit"):
        environment = services[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


def test_ports_are_published_on_loopback_alone(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:8265:8265", "127.0.0.1:8333:8333"]
    assert not any(service.get("network_mode") == "host" for service in services.values())


def test_every_variable_but_one_is_required_and_all_are_in_the_example() -> None:
    variables = set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    required = set(re.findall(r"\$\{(\w+):\?", FILE.read_text()))
    example = dict(line.split("=") for line in (INFRA / ".env.example").read_text().splitlines() if line and line[0] != "#")
    assert variables == set(example)
    assert variables - required == {"TORCH_INDEX"}
    assert not any(example.values()), "an example must not become somebody's password"
