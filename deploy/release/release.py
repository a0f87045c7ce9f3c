# SPDX-License-Identifier: Apache-2.0
"""Makes a release of the tree as it stands: changelog, version, distributions, bill of materials, checksums.

Run: python deploy/release/release.py VERSION FOLDER --cyclonedx PROGRAM. What is under Unreleased in CHANGELOG.md
becomes that of the version; nothing is committed, tagged or published. Exit code 1, and nothing changed, where there
is something in the way.
"""

import argparse
import datetime as dt
import hashlib
import re
import subprocess
import sys
from pathlib import Path

from distributions import ROOT, build, read_project

_VERSION = re.compile(r"\d+\.\d+\.\d+\Z")
_UNRELEASED = "## [Unreleased]\n"
# What the server runs with, as the container installs it.
_LOCK = ROOT / "deploy/container/requirements.lock"
# Where else the version stands: the image's label, and its tag wherever it is built or run.
_IMAGES = (
    *("deploy/README.md", "deploy/container/Containerfile", "deploy/container/compose.yaml"),
    "deploy/kubernetes/base/kustomization.yaml",
)


class InTheWayError(Exception):
    """Why there can be no release; what to do is in the text."""


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cyclonedx", required=True, help="the program cyclonedx-py")
    given = parser.parse_args()
    try:
        release(given.version, given.folder, given.cyclonedx)
    except InTheWayError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - a program
        return 1
    return 0


def release(version: str, folder: Path, cyclonedx: str) -> None:
    """Write changelog, version and the files of a release.

    Raises:
        InTheWayError: The tree is not as committed, the version is none or no later one, nothing is said of what
            changed, or the folder holds something.
    """
    pyproject, changelog = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
    before = str(read_project()["project"]["version"])
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True).stdout:
        raise InTheWayError("There are changes that are not committed; a release is of what is.")
    if folder.exists() and any(folder.iterdir()):
        raise InTheWayError(f"{folder} is not empty; remove it (make clean) or name another folder.")
    told = released(changelog.read_text(), version, before, dt.datetime.now(dt.UTC).date())
    changelog.write_text(told)
    pyproject.write_text(pyproject.read_text().replace(f'\nversion = "{before}"\n', f'\nversion = "{version}"\n', 1))
    for name in _IMAGES:
        file = ROOT / name
        file.write_text(re.sub(rf"(?<![\d.]){re.escape(before)}(?![\d.]*\d)", version, file.read_text()))
    write_files(folder, cyclonedx)
    print(  # noqa: T201 - a program
        f"{folder} holds {version}. Look at it, and then:\n"
        f'  git commit --all --message "Release {version}" && git tag v{version}'
    )


def released(changelog: str, version: str, before: str, today: dt.date) -> str:
    """Return the changelog with what is unreleased under a version.

    Raises:
        InTheWayError: As `release` has it.
    """
    if not _VERSION.match(version):
        raise InTheWayError(f"{version!r} is no version; three numbers are, as 1.2.3.")
    if _numbers(version) < _numbers(before) or f"## [{version}]" in changelog:
        raise InTheWayError(f"{version} is no later than {before}.")
    head, found, rest = changelog.partition(_UNRELEASED)
    if not found or not rest.split("\n## [", 1)[0].strip():
        raise InTheWayError(f"CHANGELOG.md says nothing under {_UNRELEASED.strip()}.")
    return f"{head}{_UNRELEASED}\n## [{version}] - {today.isoformat()}\n{rest}"


def write_files(folder: Path, cyclonedx: str) -> None:
    """Write distributions, the bill of materials of the server (CycloneDX), and checksums of all."""
    folder.mkdir(parents=True, exist_ok=True)
    project = read_project()
    build(folder, project)
    bill = folder / f"{project['project']['name']}-{project['project']['version']}.cdx.json"
    command = [cyclonedx, "requirements", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    subprocess.run([*command, "--output-file", str(bill), str(_LOCK)], check=True, capture_output=True)
    names = sorted(path.name for path in folder.iterdir())
    sums = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (folder / "SHA256SUMS").write_text(sums)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


if __name__ == "__main__":
    sys.exit(main())
