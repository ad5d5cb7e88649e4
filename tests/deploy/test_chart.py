"""The Helm chart, rendered by helm itself and checked by Kubernetes' own schemas."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from kubernetes_validate import validate  # pyright: ignore[reportMissingTypeStubs]

from core.platform.settings.base import Settings
from core.platform.settings.processes import (
    AdminProcess,
    ApiProcess,
    MigrateProcess,
    WorkerProcess,
)
from core.platform.temporal.policies import EXIT_SECONDS, task_queues
from tests.support.helm import Helm, NoHelmError, RefusedError, install_helm

LEAST: Final[dict[str, Any]] = {
    "existingSecret": "takeone",
    "ownerSecret": "takeone-owner",
    "settings": {"S3_BUCKET": "films", "TEMPORAL_ADDRESS": "temporal:7233"},
}
FULL: Final[dict[str, Any]] = {
    **LEAST,
    "image": {"repository": "registry.example.com/takeone", "digest": f"sha256:{'0' * 64}"},
    "settings": {
        **LEAST["settings"],
        "PUBLIC_URL": "https://takeone.example.com",
        "LOG_LEVEL": "INFO",
    },
    "migrations": {"mode": "job"},
    "api": {
        "autoscaling": {"enabled": True},
        "settings": {"RATE_LIMIT_READS": 6000},
        "nodeSelector": {"pool": "api"},
    },
    "worker": {
        "keda": {"enabled": True, "authentication": "temporal"},
        "settings": {"MEDIA_SLOTS": 1},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "workers"}],
    },
    "ingress": {"enabled": True, "host": "takeone.example.com", "tlsSecret": "certificate"},
    "networkPolicy": {
        "egress": [
            {
                "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
                "ports": [{"port": 5432}, {"port": 7233}],
            }
        ]
    },
    "podMonitor": {"enabled": True},
}
CASES: Final = {"least": LEAST, "full": FULL}
GOLDEN: Final = Path(__file__).parent / "golden"
KUBERNETES: Final = ("1.29", "1.37")
"""The oldest version that the chart accepts, and the newest that is known here."""
CUSTOM: Final = {"ScaledObject": "keda.v1alpha1", "PodMonitor": "prometheus_operator.v1"}
"""Kinds of operators that a cluster may have, and the module of `cloudcoil.models` of each."""
PROCESSES: Final[dict[str, type[Settings]]] = {
    "api": ApiProcess,
    "worker": WorkerProcess,
    "migrate": MigrateProcess,
    "ledger-check": AdminProcess,
}


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    try:
        return install_helm(tmp_path_factory.mktemp("helm"))
    except NoHelmError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module", params=CASES)
def objects(helm: Helm, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return helm.render(CASES[request.param])


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the name of each process, and the specification of its pod."""
    for found in objects:
        spec = found.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            (container,) = template["spec"]["containers"]
            yield container["name"], template


def test_manifests_are_those_of_the_golden_files(helm: Helm) -> None:
    """After a change: UPDATE_GOLDEN=1 pytest tests/deploy/test_chart.py, then read the diff."""
    for name, values in CASES.items():
        golden, rendered = GOLDEN / f"{name}.yaml", helm.template(values)
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(rendered, encoding="utf-8")
        assert rendered == golden.read_text(encoding="utf-8"), name


def test_chart_passes_the_linter(helm: Helm) -> None:
    for values in CASES.values():
        helm.lint(values)


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_follow_the_schemas_of_kubernetes(
    objects: list[dict[str, Any]], version: str
) -> None:
    for found in objects:
        if found["kind"] not in CUSTOM:
            validate(found, version, strict=True)


def test_custom_kinds_follow_the_schemas_of_their_operators(helm: Helm) -> None:
    checked: set[str] = set()
    for found in helm.render(FULL):
        if (kind := found["kind"]) in CUSTOM:
            schema = strict_schema(CUSTOM[kind], kind)
            jsonschema_rs.validate(schema, found)
            with pytest.raises(jsonschema_rs.ValidationError, match="misspelt"):
                jsonschema_rs.validate(schema, {**found, "spec": {**found["spec"], "misspelt": 1}})
            checked.add(kind)
    assert checked == CUSTOM.keys()


def strict_schema(module: str, kind: str) -> dict[str, Any]:
    """Return the schema of an operator's kind, which refuses unknown fields as a server does."""
    model = getattr(importlib.import_module(f"cloudcoil.models.{module}"), kind)
    schema: dict[str, Any] = model.model_json_schema(by_alias=True)
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    return schema


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"worker": {"replica": 3}}, "replica"),
        ({"worker": {"terminationGracePeriodSeconds": 10}}, "terminationGracePeriodSeconds"),
        ({"worker": {"keda": {"queues": ["submit-fal"]}}}, "queues"),
        ({"worker": {"keda": {"minReplicas": 0}}}, "minReplicas"),
        ({"settings": {"FAL_KEY": "a"}}, "FAL_KEY"),
        ({"settings": {"DATABASE_OWNER_URL": "a"}}, "DATABASE_OWNER_URL"),
        ({"settings": {"public_url": "a"}}, "public_url"),
        ({"existingSecret": ""}, "existingSecret"),
        ({"ownerSecret": ""}, "ownerSecret"),
        ({"ingress": {"enabled": True}}, "host"),
        ({"image": {"repository": "takeone", "digest": "latest"}}, "digest"),
    ],
)
def test_wrong_values_are_refused_with_their_name(
    helm: Helm, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(RefusedError, match=said):
        helm.template({**LEAST, **wrong})


def test_worker_has_time_to_finish_paid_calls(objects: list[dict[str, Any]]) -> None:
    specs = {name: template["spec"] for name, template in pods(objects)}
    assert specs["worker"]["terminationGracePeriodSeconds"] > EXIT_SECONDS


def test_only_the_migration_receives_the_owners_secret(objects: list[dict[str, Any]]) -> None:
    holders = {name for name, template in pods(objects) if "takeone-owner" in str(template)}
    assert holders == {"migrate"}
    for name, template in pods(objects):
        (container,) = template["spec"]["containers"]
        whole = [source["secretRef"]["name"] for source in container.get("envFrom", [])]
        assert whole == (["takeone"] if name in ("api", "worker") else []), name


def test_processes_receive_only_settings_of_some_process(
    objects: list[dict[str, Any]],
) -> None:
    known = {field.upper() for process in PROCESSES.values() for field in process.model_fields}
    for name, template in pods(objects):
        (container,) = template["spec"]["containers"]
        given = {variable["name"] for variable in container["env"]}
        assert given <= known, name
        if not container.get("envFrom"):
            needed = {
                field.upper()
                for field, info in PROCESSES[name].model_fields.items()
                if info.is_required()
            }
            assert needed <= given, name


def test_pods_have_the_least_rights(objects: list[dict[str, Any]]) -> None:
    for name, template in pods(objects):
        spec = template["spec"]
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"].keys() == {"memory"}, name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], name


def test_selectors_and_ports_lead_to_pods(objects: list[dict[str, Any]]) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods(objects)}
    ports = {
        port["name"]
        for _, template in pods(objects)
        for port in template["spec"]["containers"][0].get("ports", [])
    }
    for found in objects:
        spec = found.get("spec", {})
        selector: dict[str, Any] = spec.get("podSelector") or spec.get("selector") or {}
        wanted: dict[str, str] = selector.get("matchLabels", selector)
        if wanted:
            assert any(wanted.items() <= one.items() for one in labels.values()), found["metadata"]
        for port in spec.get("ports", []) + spec.get("podMetricsEndpoints", []):
            assert port.get("targetPort", port.get("port")) in ports, found["metadata"]
        for rule in spec.get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= ports, found["metadata"]


def test_every_pod_has_a_network_policy(objects: list[dict[str, Any]]) -> None:
    chosen = {
        found["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for found in objects
        if found["kind"] == "NetworkPolicy"
    }
    assert chosen == {name for name, _ in pods(objects)} == set(PROCESSES)


def test_migration_hook_needs_nothing_of_the_chart(helm: Helm) -> None:
    made = {found["metadata"]["name"] for found in helm.render(LEAST) if not hooks(found)}
    (job,) = [found for found in helm.render(LEAST) if found["kind"] == "Job"]
    assert hooks(job) == {"pre-install", "pre-upgrade"}
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    assert all("emptyDir" in volume for volume in spec["volumes"])
    variables = spec["containers"][0]["env"]
    named = {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for variable in variables
        if "valueFrom" in variable
    }
    assert named == {"takeone-owner", "takeone"}
    assert not named & (made - {"takeone"})
    assert [found["kind"] for found in helm.render(LEAST) if found["kind"] == "Secret"] == []


def hooks(found: dict[str, Any]) -> set[str]:
    text: str = found["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return set(filter(None, text.split(",")))


def test_a_scaler_owns_the_number_of_pods(helm: Helm) -> None:
    objects = helm.render(FULL)
    deployments = [found for found in objects if found["kind"] == "Deployment"]
    assert len(deployments) == 2
    assert not any("replicas" in found["spec"] for found in deployments)
    (scaled,) = [found for found in objects if found["kind"] == "ScaledObject"]
    assert scaled["spec"]["minReplicaCount"] >= 1
    queues = {
        trigger["metadata"]["taskQueue"]
        for trigger in scaled["spec"]["triggers"]
        if trigger["type"] == "temporal"
    }
    assert queues
    assert queues <= set(task_queues([]))
    for found in helm.render(LEAST):
        if found["kind"] == "Deployment":
            assert found["spec"]["replicas"] == 2
