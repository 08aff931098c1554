"""What stands under deploy/: every manifest is one that Kubernetes takes, and every pod is as careful as the others."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.infra.settings import (
    AnalyticsSettings,
    AuthoringSettings,
    GatewaySettings,
    RuntimeSettings,
    ServeSettings,
)

TOP = Path(__file__).resolve().parents[3]
DEPLOY = TOP / "deploy"
KUBERNETES = DEPLOY / "k8s"
MANIFESTS = sorted(file for file in KUBERNETES.rglob("*.yaml") if file.name != "kustomization.yaml")
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))


SECRET = ("JOURNEYS_STORE", "JOURNEYS_LOG", "JOURNEYS_KAFKA_PASSWORD", "SYNC_API_KEY")


def documents(file: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one is not None]


def everything() -> Iterator[dict[str, Any]]:
    for file in MANIFESTS:
        yield from documents(file)


def pods() -> dict[str, dict[str, Any]]:
    """The pod specifications, by the name of what makes the pods."""
    kinds = ("Deployment", "StatefulSet", "Job")
    return {one["metadata"]["name"]: one["spec"]["template"] for one in everything() if one["kind"] in kinds}


def settings_of(*classes: Any) -> set[str]:
    """The variables a process reads."""
    names = {"JOURNEYS_SECRETS_DIR"}
    for cls in classes:
        for name, field in cls.model_fields.items():
            names.add(str(field.validation_alias) if field.validation_alias else f"JOURNEYS_{name.upper()}")
    return names


KNOWN = settings_of(AuthoringSettings, RuntimeSettings, AnalyticsSettings, GatewaySettings, ServeSettings)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_every_manifest_fits_the_schema_strictly(file: Path) -> None:
    found = documents(file)
    assert found
    for one in found:
        kubernetes_validate.validate(one, "1.34", strict=True)


def test_a_misspelled_member_would_be_found() -> None:
    broken = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dota": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.34", strict=True)


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=lambda file: str(file.relative_to(KUBERNETES)))
def test_a_kustomization_names_what_is_there_and_leaves_nothing_out(file: Path) -> None:
    named = documents(file)[0]["resources"]
    assert all((file.parent / name).exists() for name in named)
    beside = {other.name for other in file.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert beside == {name for name in named if name.endswith(".yaml")}


def test_each_thing_is_declared_once() -> None:
    base = [one for file in MANIFESTS if file.parent.name == "base" for one in documents(file)]
    names = [(one["kind"], one["metadata"]["name"]) for one in base]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(pods()))
def test_a_pod_may_do_no_more_than_it_needs(name: str) -> None:
    spec = pods()[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("name", sorted(set(pods()) - {"migrate"}))
def test_a_service_is_asked_whether_it_is_well(name: str) -> None:
    (container,) = pods()[name]["spec"]["containers"]
    kind = "httpGet" if name.startswith("gateway") else "grpc"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert kind in container[probe]


@pytest.mark.parametrize("name", sorted(pods()))
def test_a_pod_sets_only_variables_that_are_read(name: str) -> None:
    config = next(one["data"] for one in everything() if one["kind"] == "ConfigMap")
    (container,) = pods()[name]["spec"]["containers"]
    assert {variable["name"] for variable in container["env"]} | set(config) <= KNOWN


def test_no_secret_is_written_down() -> None:
    assert not [one for one in everything() if one["kind"] == "Secret"]
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            for variable in container["env"]:
                if variable["name"] in SECRET:
                    assert "secretKeyRef" in variable["valueFrom"]


def test_a_runtime_is_a_member_by_the_name_of_its_pod() -> None:
    """Which it keeps over a restart: no partition moves."""
    runtime = next(one for one in everything() if one["kind"] == "StatefulSet")
    (container,) = runtime["spec"]["template"]["spec"]["containers"]
    named = {variable["name"]: variable.get("valueFrom") for variable in container["env"]}
    assert named["JOURNEYS_INSTANCE"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert all("JOURNEYS_INSTANCE" not in str(pod) for name, pod in pods().items() if name != "runtime")


def test_whoever_uses_the_log_can_show_who_they_are() -> None:
    """A password and certificates, where there are any."""
    for name in ("authoring", "runtime", "analytics", "migrate"):
        spec = pods()[name]["spec"]
        (container,) = spec["containers"]
        assert {"JOURNEYS_LOG", "JOURNEYS_KAFKA_PASSWORD"} <= {variable["name"] for variable in container["env"]}
        (volume,) = [one["secret"] for one in spec["volumes"] if one["name"] == "certificates"]
        assert volume["optional"] is True
        assert {"name": "certificates", "mountPath": "/certificates", "readOnly": True} in container["volumeMounts"]


def test_the_public_gateway_has_no_key_to_the_internal_routes() -> None:
    held = {
        name: {variable["name"] for variable in pod["spec"]["containers"][0]["env"]} for name, pod in pods().items()
    }
    assert "SYNC_API_KEY" in held["gateway-internal"]
    assert all("SYNC_API_KEY" not in names for name, names in held.items() if name != "gateway-internal")


def test_every_pod_is_inside_a_network_policy_that_lets_it_be_reached_or_reach() -> None:
    policies = [one["spec"] for one in everything() if one["kind"] == "NetworkPolicy"]
    closed = [one for one in policies if one["podSelector"] == {} and set(one["policyTypes"]) == {"Ingress", "Egress"}]
    assert closed
    assert "ingress" not in closed[0]
    assert "egress" not in closed[0]
    opened = {one["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name") for one in policies}
    assert {"authoring", "runtime", "analytics", "gateway", "gateway-internal"} <= opened


def test_every_service_may_be_disrupted_one_pod_at_a_time() -> None:
    budgets = {one["metadata"]["name"] for one in everything() if one["kind"] == "PodDisruptionBudget"}
    assert budgets == set(pods()) - {"migrate"}


def test_compose_starts_every_process_with_a_health_check_and_known_variables() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(compose) == {"mongo", "kafka", "migrate", "authoring", "runtime", "analytics", "gateway"}
    for name, service in compose.items():
        if name != "migrate":
            assert service["healthcheck"]["test"][0] == "CMD"
        if name not in ("mongo", "kafka"):
            assert set(service["environment"]) <= KNOWN
            assert service["read_only"] is True
        command = service.get("command", [])
        if command[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(command[2]) is not None


def test_the_image_runs_as_nobody_and_keeps_no_build_tools() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    stage = lines[last:]
    assert "USER 10001:10001" in stage
    assert not any("pip" in line.split() for line in stage)
    assert any(line.startswith("COPY --from=build") for line in stage)
