# SPDX-License-Identifier: Apache-2.0
"""That the manifests agree with each other and with the programs they run, in every overlay and with each component."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from matting.v1 import matting_service_pb2
from matting_gateway.cli import main as program
from matting_gateway.clock import SystemClock
from matting_gateway.configuration.sources import configuration
from testkit.certificates import Authority, replace
from testkit.deploy_tools import DEPLOY
from testkit.manifests import (
    COMPONENTS,
    KUBERNETES,
    OVERLAYS,
    Object,
    Objects,
    configuration_of,
    containers_of,
    gateway_of,
    objects_of,
    of_kind,
    pod_of,
    rendered,
    selects,
    with_component,
)
from testkit.tenants import table

MIB = 1024 * 1024
# What a gateway takes beside what its calls hold (docs/production.md).
IDLE_BYTES = 512 * MIB
UNITS = {"Mi": MIB, "Gi": 1024 * MIB}


@pytest.fixture(scope="module", params=[*OVERLAYS, *(f"+{name}" for name in COMPONENTS)])
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Return an overlay's objects, or those of the base with one component."""
    name = str(request.param)
    if not name.startswith("+"):
        return objects_of(rendered(KUBERNETES / "overlays" / name))
    return objects_of(with_component(name[1:], tmp_path_factory.mktemp(name[1:])))


def quantity(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


def deployments_of(objects: Objects) -> Iterator[tuple[Object, Object]]:
    """Yield each Deployment with its pod."""
    for one in of_kind(objects, "Deployment"):
        yield one, one["spec"]["template"]["spec"]


def probes_of(container: Object) -> dict[str, Object]:
    return {
        kind: container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness") if f"{kind}Probe" in container
    }


def labels_of(objects: Objects) -> list[dict[str, str]]:
    return [one["spec"]["template"]["metadata"]["labels"] for one, _ in deployments_of(objects)]


def write_secrets(folder: Path) -> None:
    """Make what the manifests take from Secrets and maps, below a folder as it is mounted below /etc/matting."""
    authority = Authority()
    for name in ("tls", "triton"):
        (folder / name).mkdir()
        certificate, key = authority.issue(name, names=(name,)).write(folder / name, "tls")
        replace(folder / name / "tls.crt", certificate.read_bytes())
        replace(folder / name / "tls.key", key.read_bytes())
        replace(folder / name / "ca.crt", authority.certificate)
    (folder / "collector").mkdir()
    replace(folder / "collector" / "ca.crt", authority.certificate)
    (folder / "tenants").mkdir()
    (folder / "tenants" / "tenants.toml").write_text(table("one", "certificates = ['one']"))


def test_the_program_finds_nothing_wrong_with_its_configuration(objects: Objects, tmp_path: Path) -> None:
    write_secrets(tmp_path)
    environ = {name: value.replace("/etc/matting", str(tmp_path)) for name, value in configuration_of(objects).items()}
    assert configuration({}, environ, None, clock=SystemClock()).problems == ()


def test_every_file_that_is_named_is_mounted_and_every_mount_has_its_volume(objects: Objects) -> None:
    for _, pod in deployments_of(objects):
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        mounted: set[str] = set()
        for container in containers_of(pod):
            mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", ())}
            mounted |= set(mounts.values())
            said = [*container.get("args", ()), *container.get("command", ())]
            said += [
                part for probe in probes_of(container).values() for part in probe.get("exec", {}).get("command", ())
            ]
            if container["name"] == "gateway":
                said += configuration_of(objects).values()
            for path in re.findall(r"(?:^|=)(/etc/\S+)", "\n".join(said), re.MULTILINE):
                assert any(path.startswith(f"{folder}/") for folder in mounts), path
        assert mounted == volumes


def test_volumes_are_of_the_kinds_that_restricted_pods_may_have(objects: Objects) -> None:
    for _, pod in deployments_of(objects):
        kinds = {kind for volume in pod.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def test_every_namespace_of_an_overlay_enforces_restricted_pods() -> None:
    for overlay in OVERLAYS:
        (namespace,) = of_kind(objects_of(rendered(KUBERNETES / "overlays" / overlay)), "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_that_serves_has_probes_that_fit_their_time(objects: Objects) -> None:
    for _, pod in deployments_of(objects):
        for container in pod["containers"]:
            probes = probes_of(container)
            assert set(probes) == {"startup", "readiness", "liveness"}
            # Who is started has its time before who is not alive is ended.
            startup_s = probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"]
            assert startup_s >= 60
            assert probes["liveness"]["periodSeconds"] * probes["liveness"]["failureThreshold"] >= 30


def test_probes_ask_ports_that_are_there(objects: Objects) -> None:
    for _, pod in deployments_of(objects):
        for container in pod["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            said = " ".join(container.get("args", ()))
            for probe in probes_of(container).values():
                if "grpc" in probe:
                    assert probe["grpc"]["port"] in ports.values()
                if "httpGet" in probe:
                    port = probe["httpGet"]["port"]
                    assert port in ports or f"--allow-http=true --http-port={port}" in said


def test_the_probe_by_the_program_has_options_of_it_and_its_answer_in_time(objects: Objects) -> None:
    for probe in probes_of(gateway_of(objects)).values():
        if "exec" not in probe:
            continue
        name, command, *options = probe["exec"]["command"]
        assert name == "matting-gateway"
        known = {flag for parameter in program.commands[command].params for flag in parameter.opts}
        given = dict(option.split("=", 1) for option in options)
        assert set(given) <= known
        assert float(given["--timeout-s"]) < probe["timeoutSeconds"]
        assert given["--address"].endswith(f":{configuration_of(objects)['MATTING_LISTEN'].rpartition(':')[2]}")


def test_everything_has_longer_to_end_than_it_takes(objects: Objects) -> None:
    for _, pod in deployments_of(objects):
        for container in pod["containers"]:
            pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            if container["name"] == "gateway":
                ends_s = float(configuration_of(objects)["MATTING_DRAIN_TIMEOUT_S"])
            else:
                (ends_s,) = [float(a.split("=")[1]) for a in container["args"] if a.startswith("--exit-timeout-secs=")]
            assert pod["terminationGracePeriodSeconds"] >= pause_s + ends_s + 5


def test_the_gateways_memory_is_enough_for_its_budget_and_what_is_in_memory_files(objects: Objects) -> None:
    pod = pod_of(objects)
    shared = sum(quantity(volume["emptyDir"]["sizeLimit"]) for volume in pod["volumes"] if "emptyDir" in volume)
    budget = int(configuration_of(objects)["MATTING_MEMORY_BUDGET_MIB"]) * MIB
    assert quantity(gateway_of(objects)["resources"]["limits"]["memory"]) >= budget + shared + IDLE_BYTES


def test_every_service_leads_to_a_port_of_pods_that_are_there(objects: Objects) -> None:
    for service in of_kind(objects, "Service"):
        selector = service["spec"]["selector"]
        found = [
            pod
            for one, pod in deployments_of(objects)
            if selects(selector, one["spec"]["template"]["metadata"]["labels"])
        ]
        (pod,) = found
        named = {port["name"]: port["containerPort"] for one in pod["containers"] for port in one["ports"]}
        for port in service["spec"]["ports"]:
            assert named[port["targetPort"]] == port["port"]


def test_the_gateways_service_and_tritons_name_every_pod_and_not_one_address(objects: Objects) -> None:
    for name in ("matting-gateway", "triton"):
        if ("Service", name) in objects:
            assert objects["Service", name]["spec"]["clusterIP"] == "None"


def test_triton_is_looked_for_where_it_is(objects: Objects) -> None:
    host, _, port = configuration_of(objects)["MATTING_TRITON"].rpartition(":")
    if host == "127.0.0.1":
        (triton,) = pod_of(objects)["initContainers"]
        assert "--grpc-address=127.0.0.1" in triton["args"]
        assert ("Service", "triton") not in objects
        assert ("Deployment", "triton") not in objects
    else:
        assert [one["port"] for one in objects["Service", host]["spec"]["ports"]] == [int(port)]


def test_every_pod_has_policies_for_both_directions_and_no_policy_is_without_pods(objects: Objects) -> None:
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]
    for labels in labels_of(objects):
        theirs = [one for one in policies if selects(one["podSelector"]["matchLabels"], labels)]
        assert {kind for one in theirs for kind in one["policyTypes"]} == {"Ingress", "Egress"}
    for one in policies:
        assert any(selects(one["podSelector"]["matchLabels"], labels) for labels in labels_of(objects))


def test_triton_hears_gateways_alone_and_speaks_to_nobody(objects: Objects) -> None:
    if ("NetworkPolicy", "triton") not in objects:
        return
    policy = objects["NetworkPolicy", "triton"]["spec"]
    assert "egress" not in policy
    (rule,) = policy["ingress"]
    (caller,) = rule["from"]
    gateway = objects["Deployment", "matting-gateway"]["spec"]["template"]["metadata"]["labels"]
    assert selects(caller["podSelector"]["matchLabels"], gateway)
    assert rule["ports"] == [{"port": "grpc"}]


def test_budgets_autoscalers_and_monitors_are_of_what_is_there(objects: Objects) -> None:
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert any(selects(budget["spec"]["selector"]["matchLabels"], labels) for labels in labels_of(objects))
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for scaler in of_kind(objects, kind):
            assert ("Deployment", scaler["spec"]["scaleTargetRef"]["name"]) in objects
    for monitor in of_kind(objects, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [one for one in of_kind(objects, "Service") if selects(selector, one["metadata"]["labels"])]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_both_autoscalers_keep_the_same_figure_at_the_same_height() -> None:
    base = objects_of(rendered(KUBERNETES / "base"))["HorizontalPodAutoscaler", "matting-gateway"]["spec"]
    keda = objects_of(rendered(KUBERNETES / "overlays" / "production"))["ScaledObject", "matting-gateway"]["spec"]
    (metric,), (trigger,) = base["metrics"], keda["triggers"]
    assert metric["pods"]["metric"]["name"] == "matting_utilization"
    assert "matting_utilization" in trigger["metadata"]["query"]
    assert metric["pods"]["target"]["averageValue"] == f"{float(trigger['metadata']['threshold']) * 1000:.0f}m"
    assert (base["minReplicas"], base["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])


def test_routes_lead_to_the_gateways_service_and_to_services_that_it_serves(objects: Objects) -> None:
    served = {
        matting_service_pb2.DESCRIPTOR.services_by_name["MattingService"].full_name,
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
    }
    for route in of_kind(objects, "GRPCRoute"):
        for rule in route["spec"]["rules"]:
            assert {match["method"]["service"] for match in rule["matches"]} <= served
            for backend in rule["backendRefs"]:
                ports = objects["Service", backend["name"]]["spec"]["ports"]
                assert backend["port"] in {port["port"] for port in ports}


def test_images_have_versions(objects: Objects) -> None:
    for _, pod in deployments_of(objects):
        for container in containers_of(pod):
            assert re.search(r":(?!latest)[\w.-]+$", container["image"])


def test_every_triton_is_started_as_compose_starts_it() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    (sidecar,) = pod_of(objects_of(rendered(KUBERNETES / "overlays" / "starter")))["initContainers"]
    assert set(compose["x-triton"]["command"][1:]) <= set(sidecar["args"])
