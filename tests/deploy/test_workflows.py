# SPDX-License-Identifier: Apache-2.0
"""The workflow files: valid, and calling the same make targets as people do."""

import re
from typing import Any

import pytest
import yaml
from testkit.deploy_tools import ROOT, output_of, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())


def jobs_of(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = workflow["jobs"]
    return found


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    # By YAML's older rules, which this reader has, the key `on` is true.
    found: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return found


def test_they_are_valid_by_their_schema() -> None:
    output_of(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS))


def test_actionlint_finds_nothing_in_them() -> None:
    output_of(tool("actionlint"), *map(str, WORKFLOWS))


def test_lint_unit_test_image_and_manifests_are_each_a_job_and_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (checks,) = jobs_of(yaml.safe_load((ROOT / ".github/workflows/checks.yaml").read_text())).values()
    called = {row["target"] for row in checks["strategy"]["matrix"]["include"]}
    assert called == {"lint", "unit", "test", "image", "manifests"}
    assert called <= targets
    assert checks["steps"][-1]["run"] == "make ${{ matrix.target }}"


def test_they_may_read_only_and_every_job_ends(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in jobs_of(workflow).values())


def test_actions_of_others_are_pinned(workflow: dict[str, Any]) -> None:
    used = [step["uses"] for job in jobs_of(workflow).values() for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", one) for one in used)
