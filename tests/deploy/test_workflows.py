# SPDX-License-Identifier: Apache-2.0
"""The workflow files: valid, and calling the same make targets as people do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from testkit.deploy_tools import ROOT, TOOLS, output_of, tool

ACTIONLINT = TOOLS.parent / "actionlint" / "node_modules" / "@tktco" / "node-actionlint" / "bin" / "node-actionlint.js"
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


def actionlint(*paths: Path) -> list[str]:
    """Return what actionlint finds in files, each with its kind; skip the test where it is not installed."""
    if not ACTIONLINT.exists():
        pytest.skip("actionlint is not installed: `make tools`, with npm")
    done = subprocess.run([tool("node"), ACTIONLINT, *paths], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(f"Checking {len(paths)} workflow file(s)"), done.stdout + done.stderr
    return re.findall(r"^\S+:\d+:\d+ .*\[ (?:[\w-]+) \]$", done.stdout, re.MULTILINE)


def test_actionlint_finds_nothing_in_them() -> None:
    assert actionlint(*WORKFLOWS) == []


def test_actionlint_finds_what_a_schema_cannot(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(WORKFLOWS[0].read_text().replace("matrix.target", "matrix.nobodys"))
    assert any("nobodys" in found for found in actionlint(path))


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
