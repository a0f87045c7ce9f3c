# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/cli.md run, against a real gateway."""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

from PIL import Image
from testkit.fake_triton import FakeTriton
from testkit.gateway import running_gateway
from testkit.matting_program import PROGRAM, environment
from testkit.wire_siege import photo_model

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def script(name: str, folder: Path, server: str) -> subprocess.CompletedProcess[str]:
    """Run a block of the page as a script."""
    (text,) = re.findall(rf"<!-- runs: {name} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    with_program = environment(server) | {"PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", text]
    return subprocess.run(command, cwd=folder, env=with_program, capture_output=True, text=True)


async def test_its_examples_run(tmp_path: Path) -> None:
    for place in ("cat.jpg", "photos/a.jpg", "photos/b.png", "photos/below/c.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (20, 180, 40)).save(tmp_path / place)
    async with FakeTriton(photo_model()) as triton, running_gateway(triton.address) as running:
        done = await asyncio.to_thread(script, "cli", tmp_path, running.address)
    assert done.returncode == 0, done.stderr
    made = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "all").rglob("*.png"))
    assert made == ["all/a-cutout.png", "all/b-cutout.png", "all/below/c-cutout.png"]
    with Image.open(tmp_path / "piped.png") as piped:
        assert piped.mode == "RGBA"
    assert json.loads((tmp_path / "policy.json").read_text())["statements"]


def test_its_line_for_a_shells_start_runs(tmp_path: Path) -> None:
    done = script("completion", tmp_path, "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
