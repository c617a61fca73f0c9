"""infra/aws/ray-cluster.yaml, against the schema in Ray's own package and against what it promises."""

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from .conftest import INFRA, documents


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    spec = importlib.util.find_spec("ray")  # finds the package without running it
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, Any] = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    return found


@pytest.fixture
def cluster() -> dict[str, Any]:
    (found,) = documents(INFRA / "aws" / "ray-cluster.yaml")
    assert isinstance(found, dict)
    return found


def test_is_a_cluster_to_ray(cluster: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]


@pytest.mark.parametrize(("key", "value"), [("max_wrokers", 3), ("max_workers", -1), ("provider", {"region": "x"})])
def test_a_broken_one_is_not(cluster: dict[str, Any], schema: dict[str, Any], key: str, value: Any) -> None:
    broken = copy.deepcopy(cluster)
    broken[key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_only_ssh_comes_in(cluster: dict[str, Any]) -> None:
    (rule,) = cluster["provider"]["security_group"]["IpPermissions"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 22, 22)
    assert all(not source["CidrIp"].endswith("/0") for source in rule["IpRanges"])


def test_ray_starts_with_a_token_and_a_dashboard_on_loopback(cluster: dict[str, Any]) -> None:
    for role in ("head", "worker"):
        start = cluster[f"{role}_start_ray_commands"][-1]
        assert start.startswith("export RAY_AUTH_MODE=token;")
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert "/home/ray/.ray/auth_token" in cluster["file_mounts"]


def test_workers_are_spot_and_disks_encrypted(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    worker = types["gpu-spot"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert worker["min_workers"] < worker["max_workers"] <= cluster["max_workers"]
    assert types["head"]["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    for node in types.values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
