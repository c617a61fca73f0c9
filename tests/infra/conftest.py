"""The files of infra/, read as data."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"


def documents(path: Path) -> list[Any]:
    """Return the YAML documents in a file; a key that stands there twice is an error."""
    return [document for document in yaml.load_all(path.read_text(), Loader=_UniqueKeys) if document is not None]


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands there twice in {keys}"
        return super().construct_mapping(node, deep)


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """Return (file name, object) of everything in infra/kubernetes."""
    return [(path.name, found) for path in sorted(KUBERNETES.glob("*.yaml")) for found in documents(path)]


@pytest.fixture
def objects() -> dict[str, dict[str, Any]]:
    """Objects in infra/kubernetes by ``Kind/name``."""
    return {f"{one['kind']}/{_name(one)}": one for _, one in manifests()}


def _name(one: dict[str, Any]) -> str:
    metadata = one.get("metadata", {})
    return str(metadata.get("name") or metadata.get("generateName", "").rstrip("-"))
