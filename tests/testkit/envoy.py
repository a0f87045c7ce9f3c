# SPDX-License-Identifier: Apache-2.0
"""A real Envoy with the bootstrap of `deploy/envoy`, on free ports, before gateways that a test's name server names."""

import asyncio
import json
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testkit.deploy_tools import DEPLOY, tool
from testkit.name_server import NameServer

BOOTSTRAP = DEPLOY / "envoy" / "envoy.yaml"
_UP = b"starting workers"


@dataclass(frozen=True)
class Envoy:
    """One that runs: `address` is for callers, `admin` is its own."""

    address: str
    admin: str

    async def statistics(self, prefix: str) -> dict[str, int]:
        """Return the counters and gauges whose names begin so, without that beginning."""
        text = await asyncio.to_thread(_get, f"http://{self.admin}/stats?filter=^{prefix}&format=json")
        stats = json.loads(text)["stats"]
        return {one["name"].removeprefix(prefix): one["value"] for one in stats if "value" in one}


def bootstrap(names: NameServer, gateway_port: int) -> dict[str, Any]:
    """Return the bootstrap as it is shipped, but for its ports and whom it asks for the gateways' addresses."""
    config: dict[str, Any] = yaml.safe_load(BOOTSTRAP.read_text())
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    (cluster,) = config["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"] = {"address": names.name, "port_value": gateway_port}
    cluster["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": names.port}}],
        },
    }
    return config


@asynccontextmanager
async def running_envoy(
    names: NameServer, gateway_port: int, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> AsyncIterator[Envoy]:
    """Run Envoy until the end of the block. Skips the test where there is none."""
    program = tool("envoy")
    config = bootstrap(names, gateway_port)
    change(config)
    with tempfile.TemporaryDirectory() as folder:
        file, admin = Path(folder) / "envoy.yaml", Path(folder) / "admin"
        file.write_text(yaml.safe_dump(config))
        process = await asyncio.create_subprocess_exec(
            *(program, "-c", str(file), "--admin-address-path", str(admin)),
            *("--disable-hot-restart", "--concurrency", "1", "--log-level", "info"),
            stderr=asyncio.subprocess.PIPE,
        )
        said: list[bytes] = []
        up = asyncio.Event()

        async def follow() -> None:
            if process.stderr is None:
                raise RuntimeError("Envoy's log is not piped")
            async for line in process.stderr:
                said.append(line)
                if _UP in line:
                    up.set()
            up.set()

        follower = asyncio.create_task(follow())
        try:
            async with asyncio.timeout(60):
                await up.wait()
            if process.returncode is not None or not admin.exists():
                raise RuntimeError(f"Envoy does not start:\n{b''.join(said).decode()}")
            own = admin.read_text().strip()
            listeners = json.loads(await asyncio.to_thread(_get, f"http://{own}/listeners?format=json"))
            (listener,) = listeners["listener_statuses"]
            port = listener["local_address"]["socket_address"]["port_value"]
            yield Envoy(f"127.0.0.1:{port}", own)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await follower


def _get(url: str) -> bytes:
    content: bytes = urllib.request.urlopen(url, timeout=10).read()
    return content
