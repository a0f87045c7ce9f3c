# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/tls.md run as they stand, against the real program behind the certificates that they make."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from testkit.fake_triton import FakeTriton
from testkit.matting_program import PROGRAM, environment
from testkit.program import running_service
from testkit.wire_siege import photo_model

PAGE = (Path(__file__).parents[2] / "docs" / "tls.md").read_text()
BLOCKS = dict(re.findall(r"<!-- runs: (\w+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))


async def ran(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    with_programs = environment() | {"PATH": f"{Path(PROGRAM).parent}:{os.environ['PATH']}"}
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=with_programs, capture_output=True, text=True
    )


async def script(name: str, folder: Path, address: str = "") -> subprocess.CompletedProcess[str]:
    text = BLOCKS[name].replace("gateway.internal:50051", address)
    return await ran("bash", "-euo", "pipefail", "-c", text, folder=folder)


async def test_its_certificates_serve_gateway_and_callers(tmp_path: Path) -> None:
    made = await script("certificates", tmp_path)
    assert made.returncode == 0, made.stderr
    words = shlex.split(BLOCKS["serve"])
    options = [str(tmp_path / word) if (tmp_path / word).is_file() else word for word in words[4:]]
    assert words[:4] == ["matting-gateway", "serve", "--listen", "0.0.0.0:50051"]
    async with (
        FakeTriton(photo_model()) as triton,
        running_service("--triton", triton.address, *options, serving=False) as service,
    ):
        await service.events_named("serving")
        address = service.address.replace("127.0.0.1", "localhost")
        called = await script("callers", tmp_path, address)
        python = BLOCKS["python"].replace("gateway.internal:50051", address)
        listed = await ran(sys.executable, "-W", "error", "-c", python, folder=tmp_path)
    assert (called.returncode, called.stderr) == (0, "")
    assert called.stdout.endswith(f"{address}: SERVING\n")
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "['u2net']\n", "")
