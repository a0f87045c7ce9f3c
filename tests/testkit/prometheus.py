# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus that scrapes one gateway every second, with the rules of `deploy/`."""

import asyncio
import json
import re
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testkit.deploy_tools import DEPLOY, tool

_LISTENING = re.compile(rb'msg="Listening on".* address=(127\.0\.0\.1:[1-9]\d*)')
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    address: str

    async def has_data(self, expression: str) -> bool:
        """Return whether an expression has a number now, for any series; its errors fail the test."""
        url = f"http://{self.address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        answer = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url).read()))
        return any(sample["value"][1] != "NaN" for sample in answer["data"]["result"])


@asynccontextmanager
async def running_prometheus(folder: Path, metrics_address: str) -> AsyncIterator[Prometheus]:
    """Run it within the block, with what it is configured by and what it keeps in a folder."""
    command = tool("prometheus")
    configuration = _every_second(yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text()))
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [metrics_address]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    rules = _every_second(yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text()))
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    process = await asyncio.create_subprocess_exec(
        command,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        stderr=asyncio.subprocess.PIPE,
    )
    if process.stderr is None:
        raise RuntimeError("its log is not piped")
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while (found := _LISTENING.search(lines[-1] if lines else b"")) is None:
                lines.append(await process.stderr.readline())
                if not lines[-1]:
                    raise RuntimeError(f"Prometheus ended:\n{b''.join(lines).decode()}")
        reader = asyncio.create_task(process.stderr.read())
        yield Prometheus(found[1].decode())
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    await reader


def _every_second(value: Any) -> Any:
    """Return a configuration whose intervals are a second."""
    if isinstance(value, list):
        return [_every_second(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: "1s" if key.endswith("interval") else _every_second(one) for key, one in value.items()}
