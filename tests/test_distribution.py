"""What is installed with the package: every module that its code imports is asked for by name."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

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


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    declared = {_name(requirement) for requirement in [*project["dependencies"], *extras]}
    distributions = packages_distributions()
    for name, path in (_imported(ROOT / "repaint_batch") | _imported(ROOT / "jobs")).items():
        owners = {_name(owner) for owner in distributions.get(name, [])}
        assert owners & declared, f"{path} imports {name}, which none of pyproject.toml's requirements brings by itself"


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
