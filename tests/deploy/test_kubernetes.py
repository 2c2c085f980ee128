"""The manifests against the published schemas, and against what the program takes and serves.

Kubernetes' schemas come with the package kubernetes-validate, that of a ScaledObject with KEDA (see vendor).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from flc.main import COMMANDS
from schemas.topics import load
from workers.catalogue import WORKERS
from workers.settings import Settings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())

#: The oldest and the newest version that the manifests are for.
VERSIONS = ("1.30", "1.37")


def objects() -> Iterator[dict[str, Any]]:
    """Yield every object of the manifests; lists are taken apart."""
    for name in KUSTOMIZATION["resources"]:
        for document in yaml.safe_load_all((MANIFESTS / name).read_text()):
            yield from document["items"] if document["kind"] == "List" else [document]


def named(one: dict[str, Any]) -> str:
    """Return the address of an object."""
    return f"{one['kind']}/{one['metadata']['name']}"


OBJECTS = {named(one): one for one in objects()}
PODS = {name: one["spec"]["template"] for name, one in OBJECTS.items() if "template" in one.get("spec", {})}
CONTAINERS = {name: pod["spec"]["containers"][0] for name, pod in PODS.items()}


def of_kind(kind: str) -> dict[str, Any]:
    """Return the objects of a kind by name."""
    return {one["metadata"]["name"]: one for one in OBJECTS.values() if one["kind"] == kind}


def test_every_file_is_part_of_it_and_every_object_is_there_once() -> None:
    assert {path.name for path in MANIFESTS.iterdir()} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}
    assert len(list(objects())) == len(OBJECTS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [name for name, one in OBJECTS.items() if one["kind"] != "ScaledObject"])
def test_an_object_is_as_kubernetes_wants_it(name: str, version: str) -> None:
    assert kubernetes_validate.validate(OBJECTS[name], version, strict=True) == version


@pytest.mark.parametrize("name", [name for name, one in OBJECTS.items() if one["kind"] == "ScaledObject"])
def test_a_scaled_object_is_as_keda_wants_it(name: str) -> None:
    definition = yaml.safe_load((Path(__file__).parent / "vendor" / "keda.sh_scaledobjects.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    assert OBJECTS[name]["apiVersion"] == f"{definition['spec']['group']}/{version['name']}"
    jsonschema.validate(OBJECTS[name], closed(version["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    """Return a schema that refuses fields that it does not name, as a server prunes them."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items() if name != "properties"}
    if "properties" in schema:
        inner["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        # Of metadata a definition says nothing: it is the server's.
        if schema["properties"]:
            inner.setdefault("additionalProperties", False)
    return inner


def test_every_worker_runs_scales_and_survives_an_emptied_node() -> None:
    assert set(of_kind("StatefulSet")) == set(WORKERS)
    for name in WORKERS:
        assert CONTAINERS[f"StatefulSet/{name}"]["args"] == ["worker", "run", name]
        budget = OBJECTS[f"PodDisruptionBudget/{name}"]["spec"]
        labels = PODS[f"StatefulSet/{name}"]["metadata"]["labels"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"].items() <= labels.items()
        assert budget["selector"] == OBJECTS[f"StatefulSet/{name}"]["spec"]["selector"]


def test_a_worker_is_scaled_by_the_lag_of_its_own_group_up_to_its_partitions() -> None:
    scaled = of_kind("ScaledObject")
    assert set(scaled) == set(WORKERS)
    partitions = {topic.partitions for topic in load().declared.values()}
    for name, one in scaled.items():
        (trigger,) = one["spec"]["triggers"]
        assert one["spec"]["scaleTargetRef"] == {"kind": "StatefulSet", "name": name}
        assert one["spec"]["minReplicaCount"] == 1
        assert {one["spec"]["maxReplicaCount"]} == partitions
        assert trigger["metadata"]["consumerGroup"] == name
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert trigger["metadata"]["bootstrapServersFromEnv"] in OBJECTS["ConfigMap/flc"]["data"]


@pytest.mark.parametrize("name", [*(f"StatefulSet/{worker}" for worker in WORKERS), "Deployment/page"])
def test_a_process_is_probed_where_it_serves(name: str) -> None:
    container = CONTAINERS[name]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    (port,) = container["ports"]
    field = "page_address" if name.endswith("page") else "http_port"
    assert str(Settings.model_fields[field].default).endswith(str(port["containerPort"]))


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_process_has_few_rights_and_time_to_drain(name: str) -> None:
    assert CONTAINERS[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = PODS[name]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {pod['securityContext']['runAsUser']} flc" in (ROOT / "Dockerfile").read_text()
    assert pod.get("terminationGracePeriodSeconds", 30) >= 30


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_process_is_of_our_image_its_command_and_its_settings_exist(name: str) -> None:
    container = CONTAINERS[name]
    assert container["image"] == KUSTOMIZATION["images"][0]["name"]
    assert container["args"][0] in COMMANDS
    known = {f"FLC_{field}".upper() for field in Settings.model_fields} | {"FLC_ENVIRONMENT"}
    known |= {f"KAFKA_{field}".upper() for field in Settings.model_fields}
    given = {one["name"] for one in container.get("env", ())} | set(OBJECTS["ConfigMap/flc"]["data"])
    assert given <= known


def test_a_service_leads_to_pods() -> None:
    for name, service in of_kind("Service").items():
        pods = [
            CONTAINERS[address]
            for address, pod in PODS.items()
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        assert len(pods) == (len(WORKERS) if name == "workers" else 1)
        assert all(pod["ports"][0]["name"] == service["spec"]["ports"][0]["targetPort"] for pod in pods)
