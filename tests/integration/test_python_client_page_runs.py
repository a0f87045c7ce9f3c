# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/python-client.md run as they stand, each a program of its own, against a real gateway."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from testkit.certificates import Authority
from testkit.fake_triton import FakeTriton
from testkit.gateway import running_gateway
from testkit.photos import sample_photo
from testkit.wire_siege import photo_model

PAGE = (Path(__file__).parents[2] / "docs" / "python-client.md").read_text()
BLOCKS = dict(re.findall(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
# Files that an example makes, and what it has to print.
MADE = {
    "one_photo": ["cat.webp"],
    "several_results": ["cat-alpha.png", "cat-cutout.png", "cat-card.jpg", "cat-beach.webp"],
    "stream": ["photos/a.cutout.png"],
    "arrays": ["cat-from-pixels.png"],
    "compose": ["cat-composed.png"],
}
PRINTED = {
    "stream": "photos/broken.jpg ",
    "asyncio": "a.jpg Answer(",
    "arrays": "(240, 320) 1.0",
    "errors": "there are ['u2net']",
    "policy": "kept storage.disk",
}


def test_every_python_of_the_page_is_run() -> None:
    assert PAGE.count("```python") == len(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
async def test_its_example_runs(name: str, tmp_path: Path) -> None:
    for place in ("cat.jpg", "beach.jpg", "photos/a.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.fromarray(sample_photo(320, 240)).save(tmp_path / place)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    authority = Authority()
    authority.issue("caller", client=True).write(tmp_path, "client")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    async with FakeTriton(photo_model()) as triton, running_gateway(triton.address) as running:
        code = BLOCKS[name].replace("127.0.0.1:50051", running.address)
        command = [sys.executable, "-W", "error", "-c", code]
        done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [made for made in MADE.get(name, []) if not (tmp_path / made).stat().st_size] == []
    assert PRINTED.get(name, "") in done.stdout
