# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md says what `matting` does: every option with its default, every exit code, and its examples run."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from matting_client.arguments import EPILOG, make_parsers
from PIL import Image
from testkit.fake_triton import FakeTriton
from testkit.gateway import running_gateway
from testkit.matting_program import PROGRAM, environment
from testkit.wire_siege import photo_model

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def rows_of(parser_name: str) -> list[str]:
    """Return the rows that a command's options need."""
    rows = []
    for action in make_parsers("")[parser_name].actions():
        text = action.help or ""
        default = re.search(r" \(default: ([^()]+)\)$", text)
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar}`"
        what = text[: default.start()] if default else text
        rows.append(f"| {names} | {default[1] if default else ''} | {what} |".replace("*.jpg", r"\*.jpg"))
    return rows


def block(name: str) -> str:
    (text,) = re.findall(rf"<!-- runs: {name} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_every_option_is_in_the_table_as_the_program_has_it() -> None:
    start = PAGE.index("## Options of")
    assert [line for line in PAGE[start:].splitlines() if line.startswith("| `")] == rows_of("cutout")


def test_every_exit_code_is_in_the_table() -> None:
    assert re.findall(r"^  (\d+) ", EPILOG, re.MULTILINE) == re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", ["cli", "completion"])
async def test_its_examples_run(name: str, tmp_path: Path) -> None:
    for place in ("cat.jpg", "photos/a.jpg", "photos/b.png", "photos/below/c.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (20, 180, 40)).save(tmp_path / place)
    async with FakeTriton(photo_model()) as triton, running_gateway(triton.address) as running:
        with_program = environment(running.address) | {"PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            block(name),
            cwd=tmp_path,
            env=with_program,
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
    assert process.returncode == 0, told.decode()
    if name == "cli":
        made = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "all").rglob("*.png"))
        assert made == ["all/a-cutout.png", "all/b-cutout.png", "all/below/c-cutout.png"]
        with Image.open(tmp_path / "piped.png") as piped:
            assert piped.mode == "RGBA"
        assert json.loads((tmp_path / "policy.json").read_text())["statements"]
