# SPDX-License-Identifier: Apache-2.0
"""A program without what its extra brings says which extra to install, and raises no traceback."""

import subprocess
import sys

import pytest


def start(program: str, hidden: tuple[str, ...], *words: str) -> subprocess.CompletedProcess[str]:
    """Start a program by its entry point, as if `hidden` were not installed."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({hidden!r})); sys.argv[1:] = {list(words)!r}"
    code = f"{hide}; import matting_programs; sys.exit(matting_programs.{program}())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("program", "hidden", "told"),
    [
        (
            "gateway",
            ("click",),
            "matting_gateway needs click: pip install 'matting-gateway[server]'\n",
        ),
        ("gateway", ("tritonclient",), "matting-gateway needs tritonclient: pip install 'matting-gateway[server]'\n"),
        ("load", ("numpy",), "matting_load needs numpy: pip install matting-load\n"),
        ("load", ("rich",), "matting-load needs rich: pip install matting-load\n"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(program: str, hidden: tuple[str, ...], told: str) -> None:
    done = start(program, hidden, "serve" if program == "gateway" else "run")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


@pytest.mark.parametrize("program", ["matting", "gateway", "load"])
def test_every_program_starts(program: str) -> None:
    done = start(program, (), "--help")
    assert (done.returncode, done.stderr) == (0, "")
