# SPDX-License-Identifier: Apache-2.0
"""The real program says one thing of its readiness everywhere: log, health, /readyz, gauge; and what is missing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from testkit.doors import infer_request
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.gateway import wait_serving
from testkit.program import Service, running_service
from testkit.readiness import assert_all_say, get, line


@asynccontextmanager
async def serving_service(triton: FakeTriton) -> AsyncIterator[Service]:
    async with running_service("--triton", triton.address, "--default-model", "one") as service:
        yield service


def names(backend: str, reason: str) -> Callable[[dict[str, Any]], bool]:
    return lambda told: (told["event"], told.get("backend"), told.get("reason")) == ("not_ready", backend, reason)


async def test_a_triton_that_is_not_there_is_named_once_with_what_was_seen_and_what_to_do() -> None:
    async with running_service("--triton", "127.0.0.1:1", serving=False) as service:
        told = await line(service, names("127.0.0.1:1", "backend_unavailable"))
        assert told["cause"] == "connection refused"
        assert "start Triton there" in told["advice"]
        text = await assert_all_say(service, "not_ready")
        assert "127.0.0.1:1: connection refused; start Triton there" in text
        down = await line(service, lambda told: told["event"] == "backend_down")
        assert (down["backend"], down["detail"], down["level"]) == ("127.0.0.1:1", "connection refused", "warning")
        assert not [event for event in service.events if event["event"] == "serving"]
        assert await service.stop() == 0
        assert [e["event"] for e in service.events].count("not_ready") == 1
        assert [e["event"] for e in service.events].count("backend_down") == 1


async def test_a_default_model_that_is_not_there_is_named_with_those_that_are() -> None:
    async with FakeTriton(FakeModel(echo_config("one")), FakeModel(echo_config("two"))) as triton:
        arguments = ("--triton", triton.address, "--default-model", "three")
        async with running_service(*arguments, serving=False) as service:
            told = await line(service, names(triton.address, "model_missing"))
            assert told["cause"] == "it has no model three; there: one, two"
            assert "--default-model" in told["advice"]
            await line(service, lambda told: told["event"] == "backend_up")
            await assert_all_say(service, "not_ready")
            triton.models["three"] = FakeModel(echo_config("three"))
            await wait_serving(service.channel)
            await assert_all_say(service, "serving")
            assert await service.stop() == 0
            assert [e["event"] for e in service.events].count("serving") == 1


async def test_a_model_that_is_loading_or_failed_is_told_and_then_served() -> None:
    async with FakeTriton(FakeModel(echo_config("one"))) as triton:
        triton.unready["two"] = ("LOADING", "")
        arguments = ("--triton", triton.address, "--default-model", "two")
        async with running_service(*arguments, serving=False) as service:
            assert (await line(service, names(triton.address, "model_loading")))["cause"] == "model two is loading"
            await assert_all_say(service, "not_ready")
            triton.unready["two"] = ("UNAVAILABLE", 'Internal: ValueError: a "word"\nmore\n\nAt:\n  /m.py(1): x')
            told = await line(service, names(triton.address, "model_failed"))
            assert told["cause"] == 'model two is not loaded: Internal: ValueError: a "word" more'
            assert "ready: one" in told["advice"]
            del triton.unready["two"]
            triton.models["two"] = FakeModel(echo_config("two"))
            await wait_serving(service.channel)
            await assert_all_say(service, "serving")


async def test_a_backend_that_goes_and_comes_back_is_told_each_time() -> None:
    triton = FakeTriton(FakeModel(echo_config("one")))
    async with triton, serving_service(triton) as service:
        await assert_all_say(service, "serving")
        for _ in range(2):
            before = len(service.events)
            await triton.stop()
            down = await line(service, lambda told: told["event"] == "backend_down", before)
            assert down["detail"] == "connection refused"
            await line(service, names(triton.address, "backend_unavailable"), before)
            await wait_serving(service.channel, serving=False)
            await assert_all_say(service, "not_ready")
            assert await service.metric("matting_backend_up", backend=triton.address) == 0
            before = len(service.events)
            await triton.start()
            await line(service, lambda told: told["event"] == "backend_up", before)
            await line(service, lambda told: told["event"] == "serving", before)
            await wait_serving(service.channel)
            await assert_all_say(service, "serving")
            assert await service.metric("matting_backend_up", backend=triton.address) == 1


async def test_a_drain_is_told_by_all_while_a_call_is_still_answered() -> None:
    waits = asyncio.Event()

    async def slow(request: Any) -> Any:
        await waits.wait()
        raise ValueError("enough")

    triton = FakeTriton(FakeModel(echo_config("one"), answer=slow))
    async with triton, serving_service(triton) as service:
        call = service.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", bytes, bytes)(
            infer_request("one", {"x": ("UINT8", (1, 3), b"abc")}).SerializeToString(), timeout=30
        )
        await triton.wait_for_requests(1)
        service.process.terminate()
        await line(service, lambda told: told["event"] == "draining")
        status, text = await get(service, "/readyz")
        assert (status, text) == (503, "draining\n")
        assert (await get(service, "/livez"))[0] == 200
        assert await service.metric("matting_lifecycle", state="draining") == 1
        waits.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        assert await service.process.wait() == 0


async def test_nothing_else_is_on_the_metrics_port() -> None:
    async with running_service("--triton", "127.0.0.1:1", serving=False) as service:
        for path in ("/", "/healthz", "/metrics/", "/readyz/..", "/favicon.ico", "/metrics%2f"):
            assert (await get(service, path))[0] == 404, path
        assert (await get(service, "/metrics"))[0] == 200
        assert (await get(service, "/metrics", "POST"))[0] == 405
        assert (await get(service, "/livez", "HEAD")) == (200, "")
