# SPDX-License-Identifier: Apache-2.0
"""Facts about a release: one command makes all of it of what is committed, or says what is in the way."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What names the image by its version.
IMAGES = (
    *("deploy/README.md", "deploy/container/Containerfile", "deploy/container/compose.yaml"),
    "deploy/kubernetes/base/kustomization.yaml",
)
CYCLONEDX = ROOT / ".cache/sbom/bin/cyclonedx-py"
_GIT = ("git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of its own with what is tracked here."""
    copy = tmp_path / "tree"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    subprocess.run([*_GIT, "init", "--quiet"], cwd=copy, check=True)
    commit(copy)
    return copy


def commit(tree: Path) -> None:
    subprocess.run([*_GIT, "add", "--all"], cwd=tree, check=True)
    subprocess.run([*_GIT, "commit", "--quiet", "--message", "As it stands"], cwd=tree, check=True)


@pytest.fixture
def cyclonedx(tmp_path: Path) -> Path:
    """The program that writes the bill of materials; where it is not installed, one that writes that there is one."""
    if CYCLONEDX.exists():
        return CYCLONEDX
    program = tmp_path / "cyclonedx-py"
    program.write_text(
        '#!/bin/sh\nwhile [ "$1" != --output-file ]; do shift; done\necho \'{"components": []}\' > "$2"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def release(tree: Path, cyclonedx: Path, tmp_path: Path) -> Run:
    def run(version: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "deploy/release/release.py", version, str(tmp_path / "dist")]
        return subprocess.run(
            [*command, "--cyclonedx", str(cyclonedx)],
            cwd=tree, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    return run


def changed(tree: Path) -> list[str]:
    said = subprocess.run(["git", "status", "--porcelain"], cwd=tree, check=True, capture_output=True, text=True).stdout
    return [line.split()[-1] for line in said.splitlines()]


def test_one_command_makes_changelog_version_distributions_bill_and_checksums(
    tree: Path, release: Run, tmp_path: Path
) -> None:
    made = release("7.8.9")
    assert made.returncode == 0, made.stderr
    assert changed(tree) == ["CHANGELOG.md", *IMAGES, "pyproject.toml"]
    assert 'version = "7.8.9"' in (tree / "pyproject.toml").read_text()
    assert all("7.8.9" in (tree / name).read_text() for name in IMAGES)
    changelog = (tree / "CHANGELOG.md").read_text()
    assert changelog.index("## [Unreleased]") < changelog.index("## [7.8.9] - ") < changelog.index("### Added")
    folder = tmp_path / "dist"
    names = {path.name for path in folder.iterdir()}
    wheels = {f"matting_{name}-7.8.9-py3-none-any.whl" for name in ("client", "gateway", "load")}
    archives = {f"matting_{name}-7.8.9.tar.gz" for name in ("client", "gateway", "load")}
    assert names == {*wheels, *archives, "matting-gateway-7.8.9.cdx.json", "SHA256SUMS"}
    assert "components" in json.loads((folder / "matting-gateway-7.8.9.cdx.json").read_text())
    sums = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in sums} == {
        n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names - {"SHA256SUMS"}
    }
    assert "git tag v7.8.9" in made.stdout


@pytest.mark.parametrize(
    ("version", "told"),
    [("next", "'next' is no version"), ("0.0.1", "0.0.1 is no later than"), ("1.2", "'1.2' is no version")],
)
def test_a_version_that_is_none_or_no_later_one_is_refused(tree: Path, release: Run, version: str, told: str) -> None:
    refused = release(version)
    assert (refused.returncode, changed(tree)) == (1, [])
    assert told in refused.stderr


def test_what_is_not_committed_is_not_released(tree: Path, release: Run) -> None:
    (tree / "README.md").write_text("something else")
    refused = release("7.8.9")
    assert (refused.returncode, changed(tree)) == (1, ["README.md"])
    assert "not committed" in refused.stderr


def test_a_release_of_which_the_changelog_says_nothing_is_refused(tree: Path, release: Run) -> None:
    changelog = tree / "CHANGELOG.md"
    head, unreleased, _ = changelog.read_text().partition("## [Unreleased]\n")
    changelog.write_text(head + unreleased + "\n## [0.1.0] - 2020-01-01\n\n- Something.\n")
    commit(tree)
    refused = release("7.8.9")
    assert (refused.returncode, changed(tree)) == (1, [])
    assert "says nothing under" in refused.stderr
