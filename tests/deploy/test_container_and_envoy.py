# SPDX-License-Identifier: Apache-2.0
"""The container's file, the compose file and Envoy's bootstrap, as their own tools see them."""

import re
import tomllib
from typing import Any

import pytest
import yaml
from matting_gateway.configuration.settings import OPTIONS, Settings
from testkit.deploy_tools import DEPLOY, ROOT, output_of, tool

CONTAINERFILE = DEPLOY / "container" / "Containerfile"
COMPOSE = DEPLOY / "container" / "compose.yaml"


def test_hadolint_finds_nothing_in_the_containerfile() -> None:
    # The base is an argument, so that an operator gives it with its digest; names of Debian packages are not used.
    output_of(tool("hadolint"), "--ignore", "DL3006", "--no-color", str(CONTAINERFILE))


def test_the_image_runs_as_nobody_of_the_hosts_and_asks_itself_for_its_health() -> None:
    text = CONTAINERFILE.read_text()
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert 'CMD ["matting-gateway", "health"]' in text
    assert "--require-hashes" in text


def test_versions_are_those_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"ARG VERSION={version}" in CONTAINERFILE.read_text()
    compose = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    assert compose["x-gateway"]["image"] == f"matting-gateway:{version}"
    base = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "kustomization.yaml").read_text())
    assert base["images"][0]["newTag"] == version


def test_what_the_container_installs_is_pinned_as_the_project_pins_it() -> None:
    def pins(path: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9.-]+==[^ ;]+", (ROOT / path).read_text(), re.MULTILINE))

    assert pins("deploy/container/requirements.lock") <= pins("requirements.lock")


def test_files_that_the_compose_file_mounts_are_there() -> None:
    compose = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", ())]
    assert mounts
    for mount in mounts:
        assert (DEPLOY / "container" / mount.split(":")[0]).exists(), mount


def compose_file() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    return found


def services_of(profile: str) -> dict[str, Any]:
    return {name: one for name, one in compose_file()["services"].items() if profile in one["profiles"]}


PROFILES = ("cpu", "gpu", "standalone")


def test_the_compose_file_is_one_by_the_schema_of_the_specification() -> None:
    output_of(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_has_one_gateway_that_asks_itself_for_its_health(profile: str) -> None:
    (gateway,) = [one for one in services_of(profile).values() if one.get("build")]
    assert gateway["build"]["target"] == ("standalone" if profile == "standalone" else "gateway")
    assert gateway["healthcheck"]["test"] == ["CMD", "matting-gateway", "health"]
    assert int(gateway["stop_grace_period"].rstrip("s")) > Settings().drain_timeout_s
    assert set(gateway["environment"]) <= {option.variable for option in OPTIONS}


@pytest.mark.parametrize("profile", PROFILES)
def test_gateway_and_triton_of_a_profile_have_no_privileges_and_no_file_to_write(profile: str) -> None:
    for name, service in services_of(profile).items():
        if name in {"prometheus", "grafana"}:
            continue
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(mount.endswith(":ro") for mount in service.get("volumes", ()))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_gateway_beside_nvidias_triton_shares_its_network_memory_and_user(profile: str) -> None:
    services = services_of(profile)
    beside = [service for service in services.values() if "network_mode" in service]
    assert len(beside) == (0 if profile == "standalone" else 1)
    for gateway in beside:
        triton = services[gateway["network_mode"].removeprefix("service:")]
        assert gateway["ipc"] == gateway["network_mode"]
        assert gateway["user"] == triton["user"]
        assert triton["ipc"] == "shareable"
        assert "--allow-client-shm=true" in triton["command"]
        assert gateway["environment"]["MATTING_TRITON"] == "127.0.0.1:8001"


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_scraped_and_asked_is_there_by_its_name(profile: str) -> None:
    services = services_of(profile)
    names = set(services).union(
        *(one["networks"]["default"]["aliases"] for one in services.values() if "networks" in one)
    )
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    targets = [target for job in scraped for group in job["static_configs"] for target in group["targets"]]
    assert "matting-gateway:9464" in targets
    assert {target.split(":")[0] for target in targets} <= names | {"localhost"}
    provisioned = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (files,) = yaml.safe_load((provisioned / "dashboards" / "files.yaml").read_text())["providers"]
    assert any(mount.split(":")[1].startswith(files["options"]["path"]) for mount in services["grafana"]["volumes"])


def test_each_published_port_is_on_this_machine_alone_and_published_once() -> None:
    for profile in PROFILES:
        ports = [port for one in services_of(profile).values() for port in one.get("ports", ())]
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert len(ports) == len(set(ports)) == 4


def test_images_of_others_are_pinned_and_triton_is_the_one_of_the_manifests() -> None:
    images = {one["image"] for one in compose_file()["services"].values() if "build" not in one}
    assert all(re.search(r":v?\d[\w.-]+$", image) for image in images)
    manifests = [path.read_text() for path in (DEPLOY / "kubernetes").rglob("*.yaml")]
    tritons = {found for text in manifests for found in re.findall(r"image: (nvcr\S+)", text)}
    assert tritons == {image for image in images if image.startswith("nvcr.io/")}


def test_envoy_takes_its_bootstrap() -> None:
    said = output_of(tool("envoy"), "--mode", "validate", "-c", str(DEPLOY / "envoy" / "envoy.yaml"))
    assert "OK" in said
