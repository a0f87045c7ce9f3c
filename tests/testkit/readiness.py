# SPDX-License-Identifier: Apache-2.0
"""Whether a running program says the same of its readiness everywhere."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from testkit.program import Service

_PATIENCE_S = 120.0


def _get(url: str, method: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def get(service: Service, path: str, method: str = "GET") -> tuple[int, str]:
    """Return the status and the text of a path of the metrics port."""
    return await asyncio.to_thread(_get, f"http://{service.metrics_address}{path}", method)


async def line(service: Service, holds: Callable[[dict[str, Any]], bool], after: int = 0) -> dict[str, Any]:
    """Return the first line of the log for which that holds, from the `after`th on, as soon as there is one."""
    async with asyncio.timeout(_PATIENCE_S), service.told:
        await service.told.wait_for(lambda: any(map(holds, service.events[after:])))
    return next(filter(holds, service.events[after:]))


async def assert_all_say(service: Service, state: str) -> str:
    """Assert that health, probes and gauge say the same; return what /readyz says."""
    ready = state == "serving"
    health = await health_pb2_grpc.HealthStub(service.channel).Check(health_pb2.HealthCheckRequest())
    assert (health.status == health_pb2.HealthCheckResponse.SERVING) is ready
    status, text = await get(service, "/readyz")
    assert (status, text.splitlines()[0]) == (200 if ready else 503, state)
    metrics = await service.metrics()
    states = {dict(labels)["state"]: value for (name, labels), value in metrics.items() if name == "matting_lifecycle"}
    assert [name for name, value in states.items() if value] == [state]
    assert (await get(service, "/livez")) == (200, "alive\n")
    return text
