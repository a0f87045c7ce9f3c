# SPDX-License-Identifier: Apache-2.0
"""Builds the distributions of this repository, by the table in pyproject.toml.

Run: python deploy/release/distributions.py FOLDER. Each has packages, a program, what it requires and extras, all taken
from the project's; the client is required by the others, in the same version.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Not older than what zip files can say.
_EPOCH = "315532800"
_NEVER_PACKED = shutil.ignore_patterns("__pycache__", "*.pyc")


@dataclass(frozen=True, slots=True)
class Distribution:
    """One row of the table. `requires` names the project's extra that it cannot be without; empty: none."""

    name: str
    description: str
    readme: str
    requires_python: str
    packages: tuple[str, ...]
    program: str
    requires: str
    extras: tuple[str, ...]


def read_project(root: Path = ROOT) -> dict[str, Any]:
    """Return what pyproject.toml says."""
    return tomllib.loads((root / "pyproject.toml").read_text())


def distributions(project: Mapping[str, Any]) -> tuple[Distribution, ...]:
    """Return the table."""
    return tuple(
        Distribution(
            name=name,
            description=row["description"],
            readme=row["readme"],
            requires_python=row.get("requires-python", project["project"]["requires-python"]),
            packages=tuple(row["packages"]),
            program=row["program"],
            requires=row.get("requires", ""),
            extras=tuple(row.get("extras", ())),
        )
        for name, row in project["tool"]["distributions"].items()
    )


def pyproject_of(distribution: Distribution, project: Mapping[str, Any]) -> str:
    """Return the pyproject.toml that a distribution is built by."""
    facts, client = project["project"], next(iter(project["tool"]["distributions"]))
    extras: Mapping[str, list[str]] = facts["optional-dependencies"]

    def required(names: list[str]) -> list[str]:
        # An extra of the project may mean another: what this distribution has anyway, or else the client's.
        own = f"{facts['name']}["
        others = [name for name in names if name != f"{own}{distribution.requires}]"]
        return [f"{client}[{n.removeprefix(own)}=={facts['version']}" if n.startswith(own) else n for n in others]

    dependencies = required(extras[distribution.requires]) if distribution.requires else facts["dependencies"]
    # Who asks for the extra that a distribution cannot be without gets what is there already.
    offered = {name: required(extras[name]) for name in distribution.extras}
    if distribution.requires:
        offered[distribution.requires] = []
    lines = [
        "[build-system]",
        f"requires = {json.dumps(project['build-system']['requires'])}",
        f"build-backend = {json.dumps(project['build-system']['build-backend'])}",
        "[project]",
        f"name = {json.dumps(distribution.name)}",
        f"version = {json.dumps(facts['version'])}",
        f"description = {json.dumps(distribution.description)}",
        'readme = "README.md"',
        f"license = {json.dumps(facts['license'])}",
        f"license-files = {json.dumps(facts['license-files'])}",
        f"requires-python = {json.dumps(distribution.requires_python)}",
        f"dependencies = {json.dumps(dependencies)}",
        "[project.optional-dependencies]",
        *(f"{name} = {json.dumps(names)}" for name, names in offered.items()),
        "[project.scripts]",
        f"{distribution.program} = {json.dumps(facts['scripts'][distribution.program])}",
        "[tool.setuptools.packages.find]",
        'include = ["matting*"]',
        "[tool.setuptools.package-data]",
        '"*" = ["**/*"]',
    ]
    return "\n".join(lines) + "\n"


def build(folder: Path, project: Mapping[str, Any], root: Path = ROOT) -> None:
    """Build wheel and source archive of each distribution into a folder; the same tree gives the same wheels.

    Raises:
        subprocess.CalledProcessError: One could not be built; what was said is on standard output and error.
    """
    places = [root / place for place in project["tool"]["setuptools"]["packages"]["find"]["where"]]
    environment = {"SOURCE_DATE_EPOCH": _EPOCH, **os.environ}
    for distribution in distributions(project):
        with tempfile.TemporaryDirectory() as made:
            staged = Path(made)
            for package in distribution.packages:
                found = next(place / package for place in places if (place / package).is_dir())
                shutil.copytree(found, staged / package, ignore=_NEVER_PACKED)
            shutil.copy(root / distribution.readme, staged / "README.md")
            for name in project["project"]["license-files"]:
                shutil.copy(root / name, staged / name)
            (staged / "pyproject.toml").write_text(pyproject_of(distribution, project))
            command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(staged)]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    build(Path(sys.argv[1]), read_project())
