# SPDX-License-Identifier: Apache-2.0
"""What the READMEs of packages that stand alone show in Python runs, as anybody would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[2] / "server"
_SHOWN = re.compile(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", re.DOTALL)


def shown() -> dict[str, str]:
    return {
        name: code for page in sorted(SERVER.glob("*/README.md")) for name, code in _SHOWN.findall(page.read_text())
    }


def test_packages_that_stand_alone_show_how_they_are_used() -> None:
    assert set(shown()) == {"grpc_h2", "open_inference", "matting_pixels"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shown()))
def test_what_a_package_shows_runs_and_needs_no_gateway(name: str) -> None:
    code = (
        f"{shown()[name]}\nimport sys\nassert not any(module.startswith('matting_gateway') for module in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
