"""What is installed with the package: every module that its code imports is asked for by name."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
_OWN = {"repaint_batch"}


def _imported(folder: Path) -> dict[str, Path]:
    """Return the top-level modules that the code in a folder imports, each with a file that does."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            found |= {name.partition(".")[0]: path for name in names}
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names | _OWN}


def _requirements() -> list[Requirement]:
    """Return every requirement of the package and its extras but those on itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return [found for found in map(Requirement, lines) if found.name != project["name"]]


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    declared = {_name(requirement) for requirement in [*project["dependencies"], *extras]}
    distributions = packages_distributions()
    measuring = {name: path for name, path in _imported(ROOT / "infra").items() if name != "tests"}
    for name, path in (_imported(ROOT / "repaint_batch") | _imported(ROOT / "jobs") | measuring).items():
        owners = {_name(owner) for owner in distributions.get(name, [])}
        assert owners & declared, f"{path} imports {name}, which none of pyproject.toml's requirements brings by itself"


def test_scripts_import_what_there_is() -> None:
    """Also within functions, which no test may run: names of the package move, and what measures it is run once a month."""
    for path in sorted(path for folder in ("infra", "jobs", "tests") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] in _OWN:
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    inner = hasattr(module, "__path__") and importlib.util.find_spec(f"{node.module}.{alias.name}")
                    where = f"{path}:{node.lineno}"
                    assert hasattr(module, alias.name) or inner, f"{where} imports {alias.name}, which {node.module} has not"


def test_what_only_some_need_is_imported_where_it_is_needed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {_name(requirement) for requirement in project["dependencies"]} | _OWN
    distributions = packages_distributions()
    for path in sorted((ROOT / "repaint_batch").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - _OWN:
                owners = {_name(owner) for owner in distributions.get(name, [])}
                assert owners & required, f"{path} cannot be imported without {name}, which belongs to an extra"


def test_constraints_name_every_requirement_with_a_version_that_it_admits() -> None:
    lines = (ROOT / "infra" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for requirement in _requirements():
        assert requirement.specifier.contains(pins[_name(requirement.name)]), requirement


def test_every_requirement_has_a_lower_bound() -> None:
    for requirement in _requirements():
        assert [bound.operator for bound in requirement.specifier if bound.operator in (">=", "==")], requirement


def test_the_changelog_begins_with_the_version_that_is_being_made() -> None:
    version = Version(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version.base_version


def _private(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield (file, name) of what the code in a folder imports from elsewhere though its owner calls it private."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module or ''}.{name}" for name in names] if node.module != "__future__" else []
            for name in names:
                if any(part.startswith("_") and not part.startswith("__") for part in name.split(".")):
                    yield path, name


def test_nothing_private_is_imported() -> None:
    assert [found for folder in ("repaint_batch", "jobs", "infra") for found in _private(ROOT / folder)] == []


def test_what_diffusers_has_deprecated_is_only_compared_with() -> None:
    package = ROOT / "repaint_batch"
    users = [path for path in package.rglob("*.py") if "RePaintScheduler" in path.read_text(encoding="utf-8")]
    assert {path.relative_to(package).parts[0] for path in users} == {"evaluate"}
