# SPDX-License-Identifier: Apache-2.0
"""The metrics port: what is there, who may read what, and that a loop which stands still is not alive."""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from matting_gateway.readiness import Missing, Readiness, ServingState, Trouble
from matting_gateway.telemetry import exposition
from matting_gateway.telemetry.exposition import Exposition
from prometheus_client import CollectorRegistry, Gauge

SERVING = Readiness(ServingState.SERVING)
TROUBLE = Trouble(Missing.BACKEND_UNAVAILABLE, "secret-host:1", "connection refused", "start it")
NOT_READY = Readiness(ServingState.NOT_READY, (TROUBLE,))


def get(port: int, path: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@asynccontextmanager
async def exposed(
    readiness: Readiness = SERVING, may_read: Callable[[str], bool] | None = None
) -> AsyncIterator[Callable[[str], "asyncio.Future[tuple[int, str]]"]]:
    registry = CollectorRegistry()
    Gauge("one", "A series.", registry=registry).set(1)
    served = Exposition(registry, ask=lambda: readiness, may_read=may_read)
    served.start("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    try:
        yield lambda path: loop.run_in_executor(None, get, served.port, path)
    finally:
        served.close()


@pytest.mark.slow
async def test_ready_is_200_and_everything_else_503_with_what_is_missing() -> None:
    async with exposed() as ask:
        assert await ask("/readyz") == (200, "serving\n")
    async with exposed(NOT_READY) as ask:
        assert await ask("/readyz") == (503, "not_ready\nsecret-host:1: connection refused; start it\n")
        assert await ask("/livez") == (200, "alive\n")


@pytest.mark.slow
async def test_who_may_not_read_metrics_is_told_the_state_alone() -> None:
    async with exposed(NOT_READY, may_read=lambda _: False) as ask:
        assert await ask("/metrics") == (401, "")
        assert await ask("/readyz") == (503, "not_ready\n")
        assert await ask("/livez") == (200, "alive\n")


@pytest.mark.slow
async def test_only_what_is_named_is_there() -> None:
    async with exposed() as ask:
        assert (await ask("/metrics"))[1].startswith("# HELP one A series.")
        for path in ("/", "/healthz", "/metrics/x", "/metrics/"):
            assert (await ask(path))[0] == 404


@pytest.mark.slow
async def test_a_loop_that_stands_still_is_neither_alive_nor_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "_LOOP_PATIENCE_S", 0.05)
    told: list[tuple[int, str]] = []
    registry = CollectorRegistry()
    served = Exposition(registry, ask=lambda: SERVING)
    served.start("127.0.0.1", 0)
    asker = threading.Thread(target=lambda: told.extend(get(served.port, path) for path in ("/livez", "/readyz")))
    asker.start()
    asker.join()  # the loop stands still meanwhile
    await asyncio.sleep(0)  # and takes up what it was asked too late
    served.close()
    text = "The event loop has not answered within 0.05 s.\n"
    assert told == [(503, text), (503, text)]


@pytest.mark.slow
async def test_a_port_that_is_taken_is_named() -> None:
    served = Exposition(CollectorRegistry(), ask=lambda: SERVING)
    served.start("127.0.0.1", 0)
    other = Exposition(CollectorRegistry(), ask=lambda: SERVING)
    with pytest.raises(OSError, match=f"Cannot listen on 127.0.0.1:{served.port}: the port is taken"):
        other.start("127.0.0.1", served.port)
    served.close()
