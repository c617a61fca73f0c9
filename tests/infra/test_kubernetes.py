"""infra/kubernetes against the schemas of Kubernetes and KubeRay, and against what it promises."""

import copy
import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from .conftest import KUBERNETES, documents, manifests
from .openapi import closed, faults

VERSIONS = ("1.31", "1.37")
OWN = [(name, one) for name, one in manifests() if not one["apiVersion"].startswith(("ray.io/", "kustomize."))]
KUBERAY = [(name, one) for name, one in manifests() if one["apiVersion"].startswith("ray.io/")]
Objects = dict[str, dict[str, Any]]


def pod_specs(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every pod specification in an object."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for part in value.values():
            yield from pod_specs(part)
    elif isinstance(value, list):
        for part in value:
            yield from pod_specs(part)


PODS = [(name, spec) for name, one in manifests() for spec in pod_specs(one)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "one"), OWN, ids=[f"{name}-{one['kind']}" for name, one in OWN])
def test_own_kinds(name: str, one: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(one, version, strict=True)


def test_an_own_kind_that_is_wrong_is_refused(objects: Objects) -> None:
    night = objects["CronJob/repaint-nightly"]
    for path, value in [("concurrencyPolicy", 7), ("shedule", "0 1 * * *")]:
        broken = copy.deepcopy(night)
        broken["spec"][path] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(("name", "one"), KUBERAY, ids=[name for name, _ in KUBERAY])
def test_kuberay_kinds(name: str, one: dict[str, Any]) -> None:
    assert faults(one) == []


def test_a_kuberay_kind_that_is_wrong_is_refused(objects: Objects) -> None:
    cluster = objects["RayCluster/repaint"]
    group = cluster["spec"]["workerGroupSpecs"][0]
    container = group["template"]["spec"]["containers"][0]
    breaks = [
        (cluster["spec"], "enableInTreeAutoscalling", True),
        (cluster["spec"]["authOptions"], "mode", "tokens"),
        (group, "maxReplicas", "16"),
        (container["resources"]["limits"], "memory", [24]),
        (container["lifecycle"]["preStop"]["exec"], "command", "ray stop"),
        (container, "env", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    ]
    for where, key, value in breaks:
        before = where.get(key)
        where[key] = value
        assert len(faults(cluster)) == 1, (key, value)
        where[key] = before
        if before is None:
            del where[key]
    container["resources"]["limits"]["memory"] = 2**34  # int-or-string takes both
    assert faults(cluster) == []


def test_all_that_was_meant_is_there() -> None:
    kinds = sorted(one["kind"] for _, one in manifests())
    assert kinds == sorted([
        "CronJob", "Kustomization", "Namespace", "NetworkPolicy", "NetworkPolicy", "RayCluster", "RayCronJob", "RayJob",
        "ServiceAccount", "ServiceAccount",
    ])  # fmt: skip


def test_kustomization_lists_what_stands_and_not_what_runs_once() -> None:
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    listed = set(kustomization["resources"])
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert there - listed == {"rayjob.yaml", "raycronjob.yaml"}
    assert listed <= there


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders kustomizations, and is not here")
def test_kustomize_renders_and_changes_every_image(tmp_path: Any) -> None:
    copied = shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    file = copied / "kustomization.yaml"
    file.write_text(file.read_text().replace("newTag: 1.0.0.dev0-gpu", "newTag: 9.9.9"))
    rendered = subprocess.run(["kubectl", "kustomize", str(copied)], capture_output=True, text=True, check=True).stdout
    images = [c["image"] for one in yaml.safe_load_all(rendered) for spec in pod_specs(one) for c in spec["containers"]]
    assert images == ["registry.example.com/repaint-batch:9.9.9"] * 3


def test_everything_is_in_one_namespace() -> None:
    for name, one in OWN + KUBERAY:
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "repaint", name


def why_not_restricted(spec: dict[str, Any]) -> list[str]:
    """Return what Kubernetes' restricted pod security standard would refuse, and what runs without limits."""
    pod, found = spec.get("securityContext", {}), []
    if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
        found.append("may run as root")
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("no seccomp profile")
    if spec.get("hostNetwork") or any("hostPath" in volume for volume in spec.get("volumes", [])):
        found.append("touches the host")
    for container in spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("capabilities") != {"drop": ["ALL"]}:
            found.append(f"{container['name']} may gain privileges")
        if not {"cpu", "memory"} <= set(container["resources"]["requests"]) or "memory" not in container["resources"]["limits"]:
            found.append(f"{container['name']} has no requests or limits")
    return found


@pytest.mark.parametrize(("name", "spec"), PODS, ids=[f"{name}-{spec['containers'][0]['name']}" for name, spec in PODS])
def test_pods_are_restricted(name: str, spec: dict[str, Any]) -> None:
    assert why_not_restricted(spec) == []


def test_a_pod_that_may_run_as_root_is_noticed() -> None:
    spec = copy.deepcopy(PODS[0][1])
    spec["securityContext"] = {}
    del spec["containers"][0]["securityContext"]
    assert len(why_not_restricted(spec)) == 3


def test_the_pods_that_run_are_those_that_were_meant() -> None:
    assert sorted(spec["containers"][0]["name"] for _, spec in PODS) == ["ray-head", "ray-worker"] + ["submitter"] * 3


def test_secrets_come_by_reference() -> None:
    named = [
        entry
        for _, spec in PODS
        for container in spec["containers"]
        for entry in container.get("env", [])
        if re.search(r"KEY|TOKEN$|SECRET|PASSWORD", entry["name"])
    ]
    assert len(named) == 5
    assert all("secretKeyRef" in entry["valueFrom"] and "value" not in entry for entry in named)
    assert not any(one["kind"] == "Secret" for _, one in manifests())


def test_the_night_uses_the_token_that_kuberay_makes(objects: Objects) -> None:
    cluster = objects["RayCluster/repaint"]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    (spec,) = pod_specs(objects["CronJob/repaint-nightly"])
    env = {entry["name"]: entry for entry in spec["containers"][0]["env"]}
    assert env["RAY_AUTH_MODE"]["value"] == "token"
    assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": cluster["metadata"]["name"], "key": "auth_token"}
    assert f"--address=http://{cluster['metadata']['name']}-head-svc:8265" in spec["containers"][0]["command"]


def test_jobs_go_to_the_cluster_that_stands(objects: Objects) -> None:
    selector = {"ray.io/cluster": objects["RayCluster/repaint"]["metadata"]["name"]}
    for job in (objects["RayJob/restore"]["spec"], objects["RayCronJob/repaint-nightly"]["spec"]["jobTemplate"]):
        assert job["clusterSelector"] == selector
        # KubeRay refuses or ignores these beside a clusterSelector.
        assert not {"backoffLimit", "suspend", "shutdownAfterJobFinishes", "rayClusterSpec"} & set(job)
    assert objects["CronJob/repaint-nightly"]["spec"]["concurrencyPolicy"] == "Forbid"


def test_workers_are_spot_gpus_that_scale_and_leave_slowly(objects: Objects) -> None:
    spec = objects["RayCluster/repaint"]["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    (group,) = spec["workerGroupSpecs"]
    assert group["minReplicas"] <= group["replicas"] < group["maxReplicas"]
    pod = group["template"]["spec"]
    assert "spot" in pod["nodeSelector"].values()
    assert {"nvidia.com/gpu"} < {toleration["key"] for toleration in pod["tolerations"]}
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == "1"
    stop = container["lifecycle"]["preStop"]["exec"]["command"][-1]
    deadline, wait = (int(found) for found in re.findall(r"(?:seconds|sleep) (\d+)", stop))
    assert deadline == wait < pod["terminationGracePeriodSeconds"] - 30, "SIGTERM needs time of its own after preStop"
    assert "DRAIN_NODE_REASON_PREEMPTION" in stop


def test_ray_is_a_version_that_the_package_takes(objects: Objects) -> None:
    assert objects["RayCluster/repaint"]["spec"]["rayVersion"].startswith("2.60.")
    assert "ray[data,default]>=2.60" in (KUBERNETES.parents[1] / "pyproject.toml").read_text()
    assert tuple(int(part) for part in importlib.metadata.version("ray").split(".")[:2]) >= (2, 60)


Labels = dict[str, str]
HEAD: Labels = {"ray.io/cluster": "repaint", "ray.io/node-type": "head"}
WORKER: Labels = {"ray.io/cluster": "repaint", "ray.io/node-type": "worker"}
SUBMITTER: Labels = {"app.kubernetes.io/name": "repaint-submitter"}
OPERATOR: Labels = {"app.kubernetes.io/component": "kuberay-operator"}
STRANGER: Labels = {"app": "web"}


def may_reach(policies: list[dict[str, Any]], source: Labels, home: bool, target: Labels, port: int) -> bool:
    """Return whether `source`, of the same namespace if `home`, gets through to a port of `target`.

    Policies add up: once one selects a pod for ingress, only what some policy names comes in.
    """

    def selects(selector: dict[str, Any], labels: Labels) -> bool:
        return set(selector.get("matchLabels", {}).items()) <= set(labels.items())

    ruling = [p["spec"] for p in policies if "Ingress" in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], target)]
    if not ruling:
        return True
    return any(
        any((home or "namespaceSelector" in peer) and selects(peer["podSelector"], source) for peer in rule["from"])
        and ("ports" not in rule or port in [allowed["port"] for allowed in rule["ports"]])
        for spec in ruling
        for rule in spec.get("ingress", [])
    )


@pytest.mark.parametrize(
    ("source", "home", "target", "port", "through"),
    [
        (WORKER, True, HEAD, 6379, True),
        (HEAD, True, WORKER, 8076, True),
        (WORKER, True, WORKER, 8076, True),
        (SUBMITTER, True, HEAD, 8265, True),
        (SUBMITTER, True, HEAD, 6379, False),
        (SUBMITTER, True, WORKER, 8265, False),
        (SUBMITTER, False, HEAD, 8265, False),
        (OPERATOR, False, HEAD, 8265, True),
        (OPERATOR, False, HEAD, 10001, False),
        (STRANGER, True, HEAD, 8265, False),
        (STRANGER, False, HEAD, 6379, False),
        (STRANGER, True, WORKER, 8076, False),
        (WORKER, False, HEAD, 6379, False),
    ],
)
def test_who_reaches_whom(objects: Objects, source: Labels, home: bool, target: Labels, port: int, through: bool) -> None:
    policies = [one for key, one in objects.items() if key.startswith("NetworkPolicy/")]
    assert may_reach(policies, source, home, target, port) is through
    assert may_reach([], source, home, target, port), "it is the policies that keep anybody out"


def may_leave(policies: list[dict[str, Any]], address: str, port: int) -> bool:
    """Return whether a worker gets through to a port of an address that is no pod's."""
    rules = [rule for p in policies if "Egress" in p["spec"]["policyTypes"] for rule in p["spec"]["egress"]]
    blocks = [(peer["ipBlock"], rule) for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    return any(
        ip_address(address) in ip_network(block["cidr"])
        and not any(ip_address(address) in ip_network(but) for but in block.get("except", []))
        and port in [allowed["port"] for allowed in rule["ports"]]
        for block, rule in blocks
    )


@pytest.mark.parametrize(
    ("address", "port", "through"),
    [
        ("52.216.1.2", 443, True),  # an object store
        ("10.0.7.7", 8333, True),  # one of one's own
        ("10.0.7.7", 22, False),
        ("169.254.170.23", 80, True),  # EKS Pod Identity
        ("169.254.169.252", 988, True),  # GKE Workload Identity
        ("169.254.169.254", 80, False),  # the node's own identity
        ("169.254.169.254", 443, False),
    ],
)
def test_what_workers_reach_outside(objects: Objects, address: str, port: int, through: bool) -> None:
    assert may_leave([one for key, one in objects.items() if key.startswith("NetworkPolicy/")], address, port) is through


def test_submitters_carry_the_label_that_lets_them_in(objects: Objects) -> None:
    templates = [
        objects["RayJob/restore"]["spec"]["submitterPodTemplate"],
        objects["RayCronJob/repaint-nightly"]["spec"]["jobTemplate"]["submitterPodTemplate"],
        objects["CronJob/repaint-nightly"]["spec"]["jobTemplate"]["spec"]["template"],
    ]
    for template in templates:
        assert template["metadata"]["labels"] == SUBMITTER
        assert template["spec"]["serviceAccountName"] == "repaint-submitter"


def test_fields_that_kubernetes_would_keep_are_kept() -> None:
    schema = {"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": True}}}
    assert closed(schema)["additionalProperties"] is False
    assert "additionalProperties" not in closed({**schema, "x-kubernetes-preserve-unknown-fields": True})
    either = Draft202012Validator(closed(schema))
    assert [either.is_valid({"a": value}) for value in (1, "1", [1])] == [True, True, False]
