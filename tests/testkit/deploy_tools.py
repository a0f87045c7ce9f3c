# SPDX-License-Identifier: Apache-2.0
"""The tools that check `deploy/`, as `make tools` installs them; its tests are skipped where one is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / ".cache" / "tools" / "bin"


def tool(name: str) -> str:
    """Return the path of a tool, from `make tools` or the system's; skip the test where there is none."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: `make tools`, or Debian's package of it")
    return found


def output_of(*command: str, given: str = "") -> str:
    """Run a tool on what is given and return what it printed; its errors fail the test with its own words."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.fail(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
