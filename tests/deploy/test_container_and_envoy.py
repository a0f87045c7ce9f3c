# SPDX-License-Identifier: Apache-2.0
"""The container's file, the compose file and Envoy's bootstrap, as their own tools see them."""

import re
import tomllib

import yaml
from testkit.deploy_tools import DEPLOY, ROOT, output_of, tool

CONTAINERFILE = DEPLOY / "container" / "Containerfile"


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


def test_envoy_takes_its_bootstrap() -> None:
    said = output_of(tool("envoy"), "--mode", "validate", "-c", str(DEPLOY / "envoy" / "envoy.yaml"))
    assert "OK" in said
