# SPDX-License-Identifier: Apache-2.0
"""The manifests: rendered by kubectl, valid for Kubernetes, and in agreement with the program they run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from matting_gateway.configuration.settings import OPTIONS, Settings
from testkit.deploy_tools import TOOLS, output_of, tool
from testkit.manifests import (
    COMPONENTS,
    KUBERNETES,
    OVERLAYS,
    VERSIONS,
    Objects,
    configuration_of,
    containers_of,
    gateway_of,
    is_custom,
    objects_of,
    pod_of,
    rendered,
    with_component,
)

GRPC_PORT, METRICS_PORT = 50051, 9464
CHECK_CUSTOM = Path(__file__).parent / "custom_resources" / "check.mjs"

# Run by the tools' own Python, where the schemas are.
_VALIDATE = """
import sys, yaml, kubernetes_validate
for one in yaml.safe_load_all(sys.stdin):
    for version in sys.argv[1:]:
        kubernetes_validate.validate(one, version, strict=True)
"""


def check_valid(text: str) -> None:
    """Let the schemas of each Kubernetes judge what is its own."""
    own = [one for one in yaml.safe_load_all(text) if not is_custom(one)]
    python = Path(tool("kubernetes-validate")).resolve().parent / "python"
    output_of(str(python), "-c", _VALIDATE, *VERSIONS, given=yaml.safe_dump_all(own))


def check_custom(resources: list[Any]) -> str:
    """Let the schemas and types of their own projects judge custom resources."""
    installed = TOOLS.parent / CHECK_CUSTOM.parent.name
    if shutil.which("node") is None or not (installed / "node_modules").is_dir():
        pytest.skip("node or @kubernetes-models is not installed: `make tools`, with Debian's nodejs and npm")
    checker = shutil.copy(CHECK_CUSTOM, installed)
    return output_of("node", str(checker), given=json.dumps(resources))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_and_is_valid_for_each_kubernetes(overlay: str) -> None:
    check_valid(rendered(KUBERNETES / "overlays" / overlay))


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_alone_renders_and_is_valid_for_each_kubernetes(component: str, tmp_path: Path) -> None:
    check_valid(with_component(component, tmp_path))


def test_custom_resources_are_as_their_own_projects_say(tmp_path: Path) -> None:
    rendered_ones = [rendered(KUBERNETES / "overlays" / name) for name in OVERLAYS]
    for name in COMPONENTS:
        (folder := tmp_path / name).mkdir()
        rendered_ones.append(with_component(name, folder))
    resources = [one for text in rendered_ones for one in objects_of(text).values() if is_custom(one)]
    assert {one["kind"] for one in resources} == {"GRPCRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}
    check_custom(resources)


def test_each_custom_resource_that_is_wrong_is_found() -> None:
    wrong: list[tuple[str, str, dict[str, Any], str]] = [
        ("ScaledObject", "production", {"nonsense": 1}, "'\"nonsense\"' does not exist in type 'IScaledObjectSpec'"),
        ("ScaledObject", "production", {"maxReplicaCount": "ten"}, "data/spec/maxReplicaCount must be integer"),
        ("GRPCRoute", "public", {"hostnames": ["-"]}, "data/spec/hostnames/0 must match pattern"),
    ]
    resources = []
    for number, (kind, overlay, change, _) in enumerate(wrong):
        resource = objects_of(rendered(KUBERNETES / "overlays" / overlay))[kind, "matting-gateway"]
        resource["spec"] |= change
        resource["metadata"]["name"] = f"wrong-{number}"
        resources.append(resource)
    with pytest.raises(pytest.fail.Exception) as caught:
        check_custom(resources)
    lines = str(caught.value).splitlines()
    for number, (kind, _, _, said) in enumerate(wrong):
        assert any(line.startswith(f"{kind} wrong-{number}: ") and said in line for line in lines), (said, lines)


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> Objects:
    return objects_of(rendered(KUBERNETES / "overlays" / request.param))


def test_every_variable_is_one_that_the_program_reads(objects: Objects) -> None:
    assert set(configuration_of(objects)) <= {option.variable for option in OPTIONS}


def test_ports_of_container_services_policies_and_settings_are_the_same(objects: Objects) -> None:
    configuration = configuration_of(objects)
    assert configuration["MATTING_LISTEN"] == f"0.0.0.0:{GRPC_PORT}"
    assert configuration["MATTING_METRICS_LISTEN"] == f"0.0.0.0:{METRICS_PORT}"
    ports = {port["name"]: port["containerPort"] for port in gateway_of(objects)["ports"]}
    assert ports == {"grpc": GRPC_PORT, "metrics": METRICS_PORT}
    assert objects["Service", "matting-gateway"]["spec"]["ports"][0]["port"] == GRPC_PORT
    assert objects["Service", "matting-gateway-metrics"]["spec"]["ports"][0]["port"] == METRICS_PORT
    (rule,) = objects["NetworkPolicy", "matting-gateway"]["spec"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == set(ports)


def test_a_pod_is_given_longer_than_its_pause_and_its_drain(objects: Objects) -> None:
    pause_s = gateway_of(objects)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = float(configuration_of(objects)["MATTING_DRAIN_TIMEOUT_S"])
    assert pod_of(objects)["terminationGracePeriodSeconds"] >= pause_s + drain_s + 5


def test_connections_end_in_turn_and_their_calls_have_the_time_that_an_image_may_be_held(objects: Objects) -> None:
    configuration = configuration_of(objects)
    assert float(configuration["MATTING_MAX_CONNECTION_AGE_S"]) > 0
    assert float(configuration["MATTING_MAX_CONNECTION_AGE_GRACE_S"]) >= Settings().door.max_residency_s


def test_only_readiness_depends_on_triton(objects: Objects) -> None:
    gateway = gateway_of(objects)
    assert gateway["startupProbe"]["httpGet"]["path"] == gateway["livenessProbe"]["httpGet"]["path"] == "/livez"
    readiness = gateway["readinessProbe"]
    if "MATTING_TLS_CERTIFICATE" in configuration_of(objects):
        assert readiness["exec"]["command"][:2] == ["matting-gateway", "health"]
        assert "grpc" not in readiness
    else:
        assert readiness["grpc"]["port"] == GRPC_PORT


def test_every_container_runs_without_privileges_on_a_read_only_root(objects: Objects) -> None:
    for kind, name in objects:
        if kind != "Deployment":
            continue
        pod = pod_of(objects, name)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in containers_of(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_nothing_goes_out_but_to_triton_and_the_name_service(objects: Objects) -> None:
    policy = objects["NetworkPolicy", "matting-gateway"]["spec"]
    assert "Egress" in policy["policyTypes"]
    ports = [port["port"] for rule in policy.get("egress", ()) for port in rule["ports"]]
    assert ports in ([], [8001, 53, 53])


def test_where_there_are_several_gateways_one_at_a_time_is_taken_away(objects: Objects) -> None:
    if any(kind in {"HorizontalPodAutoscaler", "ScaledObject"} for kind, _ in objects):
        assert objects["PodDisruptionBudget", "matting-gateway"]["spec"]["maxUnavailable"] == 1
        assert objects["Deployment", "matting-gateway"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_one_autoscaler_alone_owns_the_replicas(objects: Objects) -> None:
    assert len([kind for kind, _ in objects if kind in {"HorizontalPodAutoscaler", "ScaledObject"}]) <= 1
    assert "replicas" not in objects["Deployment", "matting-gateway"]["spec"]


def test_a_sidecar_shares_memory_and_user_with_its_gateway(tmp_path: Path) -> None:
    pod = pod_of(objects_of(with_component("triton-sidecar", tmp_path)))
    (triton,) = pod["initContainers"]
    assert triton["restartPolicy"] == "Always"
    assert "--allow-client-shm=true" in triton["args"]
    assert "runAsUser" not in triton["securityContext"]
    for container in (triton, *pod["containers"]):
        (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == "/dev/shm"]
        assert mount["name"] == "shared-memory"


def test_traces_go_to_a_collector_over_tls_and_a_policy_lets_them_out(tmp_path: Path) -> None:
    objects = objects_of(with_component("tracing", tmp_path))
    configuration = configuration_of(objects)
    host, _, port = configuration["MATTING_OTLP_ENDPOINT"].partition(":")
    folder = Path(configuration["MATTING_OTLP_TLS_CA"]).parent
    assert str(folder) in {mount["mountPath"] for mount in gateway_of(objects)["volumeMounts"]}
    assert configuration["MATTING_OTLP_ENDPOINT"] not in configuration["MATTING_ALLOW_PLAINTEXT"]
    to_collector, to_names = objects["NetworkPolicy", "matting-gateway-traces"]["spec"]["egress"]
    assert to_collector["ports"] == [{"port": int(port)}]
    assert (
        to_collector["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == host.split(".")[1]
    )
    assert {one["port"] for one in to_names["ports"]} == {53}
    names = [variable["name"] for variable in gateway_of(objects)["env"]]
    assert names.index("POD_NAME") < names.index("OTEL_RESOURCE_ATTRIBUTES")


def test_with_mutual_tls_nothing_is_allowed_in_the_clear(tmp_path: Path) -> None:
    objects = objects_of(with_component("mtls", tmp_path))
    assert configuration_of(objects)["MATTING_ALLOW_PLAINTEXT"] == ""
    triton = pod_of(objects, "triton")["containers"][0]
    assert {"--grpc-use-ssl=1", "--grpc-use-ssl-mutual=1"} <= set(triton["args"])
