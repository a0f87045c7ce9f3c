# SPDX-License-Identifier: Apache-2.0
"""Kubernetes manifests as kubectl renders them, and where things are in them."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from testkit.deploy_tools import DEPLOY, output_of, tool

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
# What is not Kubernetes' own.
CUSTOM_GROUPS = frozenset({"gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com"})

Object = dict[str, Any]
Objects = dict[tuple[str, str], Object]


@functools.cache
def rendered(folder: Path) -> str:
    """Return what kubectl makes of a folder that stays as it is."""
    return output_of(tool("kubectl"), "kustomize", str(folder))


def with_component(name: str, folder: Path) -> str:
    """Render the base with one component alone."""
    parts = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(KUBERNETES / "base", folder)],
        "components": [os.path.relpath(KUBERNETES / "components" / name, folder)],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    return rendered(folder)


def objects_of(text: str) -> Objects:
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}


def is_custom(one: Object) -> bool:
    return one["apiVersion"].split("/")[0] in CUSTOM_GROUPS


def of_kind(objects: Objects, kind: str) -> list[Object]:
    return [one for (name, _), one in objects.items() if name == kind]


def pod_of(objects: Objects, deployment: str = "matting-gateway") -> Object:
    spec: Object = objects["Deployment", deployment]["spec"]["template"]["spec"]
    return spec


def gateway_of(objects: Objects) -> Object:
    (container,) = [one for one in pod_of(objects)["containers"] if one["name"] == "gateway"]
    found: Object = container
    return found


def configuration_of(objects: Objects) -> dict[str, str]:
    (name,) = [source["configMapRef"]["name"] for source in gateway_of(objects)["envFrom"]]
    data: dict[str, str] = objects["ConfigMap", name]["data"]
    return data


def containers_of(pod: Object) -> Iterator[Object]:
    yield from pod["containers"]
    yield from pod.get("initContainers", ())


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()
