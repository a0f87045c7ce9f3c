# SPDX-License-Identifier: Apache-2.0
"""Rules and dashboard: what promtool says of them, and that each form of them says the same."""

import json
import runpy
import subprocess
from pathlib import Path

import pytest
import yaml
from testkit.deploy_tools import DEPLOY, TOOLS, output_of, tool

MONITORING = DEPLOY / "kubernetes" / "components" / "monitoring"
DASHBOARD = MONITORING / "matting-gateway.json"
NPM = TOOLS.parent / "custom_resources" / "node_modules"
RULES = DEPLOY / "prometheus" / "rules.yaml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]


def test_the_rules_pass_their_own_tests() -> None:
    output_of(tool("promtool"), "check", "rules", str(RULES))
    output_of(tool("promtool"), "test", "rules", str(DEPLOY / "prometheus" / "tests" / "rules_test.yaml"))


def test_the_operators_rules_are_those_of_prometheus() -> None:
    custom = yaml.safe_load((MONITORING / "rules.yaml").read_text())
    assert custom["spec"] == yaml.safe_load(RULES.read_text())


def test_every_alert_has_a_test_and_a_section_of_the_runbook() -> None:
    tested = (DEPLOY / "prometheus" / "tests" / "rules_test.yaml").read_text()
    runbook = (DEPLOY.parent / "docs" / "runbook.md").read_text()
    for alert in ALERTS:
        assert f"alertname: {alert['alert']}" in tested
        assert f"### {alert['alert']}\n" in runbook
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_the_dashboard_is_what_its_program_writes() -> None:
    made = runpy.run_path(str(DEPLOY / "grafana" / "dashboard.py"))["dashboard"]()
    assert json.loads(DASHBOARD.read_text()) == made


def type_errors(dashboard: str, folder: Path) -> str:
    """Return what TypeScript says of a dashboard (JSON) as one of Grafana's type; skip where it is missing."""
    if not (NPM / "@grafana").is_dir():
        pytest.skip("@grafana/schema is not installed: `make tools`, with npm")
    path = folder / "dashboard.ts"
    path.write_text(
        f'import type {{ Dashboard }} from "{NPM}/@grafana/schema";\nexport const it: Dashboard = {dashboard};\n'
    )
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022")
    done = subprocess.run(
        [tool("node"), NPM / "typescript" / "bin" / "tsc", *options, path], capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


def test_the_dashboard_is_one_by_grafanas_own_type(tmp_path: Path) -> None:
    assert type_errors(DASHBOARD.read_text(), tmp_path) == ""


def test_a_field_that_grafana_does_not_know_is_found(tmp_path: Path) -> None:
    broken = json.loads(DASHBOARD.read_text()) | {"nonsense": 1}
    assert "'nonsense' does not exist in type 'Dashboard'" in type_errors(json.dumps(broken), tmp_path).replace('"', "")


def test_the_configuration_of_prometheus_is_valid() -> None:
    output_of(tool("promtool"), "check", "config", "--syntax-only", str(DEPLOY / "prometheus" / "prometheus.yaml"))
