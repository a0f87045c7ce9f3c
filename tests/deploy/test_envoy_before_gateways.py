# SPDX-License-Identifier: Apache-2.0
"""Envoy as it is shipped before three gateways before two Tritons, all real: gateways come and go, no call is lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from testkit.doors import infer_request
from testkit.envoy import Envoy, running_envoy
from testkit.fake_triton import FakeModel, FakeTriton, echo, echo_config
from testkit.gateway import wait_serving
from testkit.gateways import HOSTS, Gateways, free_port, shares
from testkit.local_triton import QUICK_START, TEST_MODELS
from testkit.name_server import NameServer
from testkit.steady_load import SteadyLoad

# Gateways that want for processor time are seen as gone.
pytestmark = [pytest.mark.triton, pytest.mark.alone]

NAME = "matting-gateway"
INFER = "/inference.GRPCInferenceService/ModelInfer"
PHOTO = "/matting.v1.MattingService/RemoveBackground"
ROW = infer_request("delay", {"row": ("UINT8", (1, 8), bytes(8))}).SerializeToString()
PIXELS = pb.PixelImage(data=bytes(64 * 64 * 3), width_px=64, height_px=64, pixel_format=pb.PIXEL_FORMAT_RGB8)
PHOTO_OF_64_PX = pb.RemoveBackgroundRequest(pixels=PIXELS).SerializeToString()
PROMISE = (("x-matting-request-bytes", str(len(PHOTO_OF_64_PX))), ("x-matting-pixels", "4096"))
ECHO = infer_request("echo", {"x": ("UINT8", (1, 3), b"abc")}).SerializeToString()
CLUSTER = "cluster.gateways."
AGE_S = 3.0


@pytest.fixture(scope="module")
def second_triton(triton_runtime: Runtime) -> Iterator[LocalTriton]:
    with LocalTriton(triton_runtime, TEST_MODELS, grace_s=0, extra_arguments=QUICK_START) as triton:
        yield triton


@dataclass(frozen=True)
class Place:
    """Everything that runs, and one channel to Envoy."""

    gateways: Gateways
    names: NameServer
    envoy: Envoy
    channel: grpc.aio.Channel

    def rows(self) -> Callable[[], Awaitable[Any]]:
        infer = self.channel.unary_unary(INFER, bytes, bytes)
        return lambda: infer(ROW, timeout=10)

    def photos(self) -> Callable[[], Awaitable[Any]]:
        remove = self.channel.unary_unary(PHOTO, bytes, bytes)
        return lambda: remove(PHOTO_OF_64_PX, timeout=10, metadata=PROMISE)


@asynccontextmanager
async def placed(
    *tritons: LocalTriton, known: tuple[str, ...] = HOSTS, more: tuple[str, ...] = ()
) -> AsyncIterator[Place]:
    addresses = [part for triton in tritons for part in ("--triton", triton.grpc_address)]
    arguments = (*addresses, "--default-model", "nothing", "--imaging-workers", "1", *more)
    async with NameServer(NAME, *known) as names, Gateways(*arguments) as gateways:
        await gateways.start(*HOSTS)
        async with (
            running_envoy(names, gateways.port) as envoy,
            grpc.aio.insecure_channel(envoy.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel,
        ):
            await wait_serving(channel)
            yield Place(gateways, names, envoy, channel)


async def test_gateways_are_begun_anew_one_by_one_and_one_is_killed_and_no_call_fails(
    triton_server: LocalTriton, second_triton: LocalTriton
) -> None:
    async with placed(triton_server, second_triton, more=("--max-connection-age-s", f"{AGE_S}")) as place:
        gateways = place.gateways
        async with SteadyLoad(place.rows(), 40) as rows, SteadyLoad(place.photos(), 8) as photos:
            await rows.after(2.0)
            assert all(await asyncio.gather(*(_has_calls(gateways, host) for host in HOSTS)))
            for host in HOSTS:
                assert await gateways.restart(host, more=("--max-stream-items", "32")) == 0
                await rows.after(2.0)
            assert (set(rows.codes), set(photos.codes)) == ({"OK"}, {"OK"}), rows.told + photos.told
            await gateways.kill(HOSTS[1])
            await rows.after(5.0)
        retried = await place.envoy.statistics(f"{CLUSTER}upstream_rq_retry")
    assert (set(rows.codes), set(photos.codes)) == ({"OK"}, {"OK"}), rows.told + photos.told
    assert retried["_overflow"] == 0
    assert retried[""] >= 1


async def _has_calls(gateways: Gateways, host: str) -> bool:
    return (await gateways.call_counts("ModelInfer", (host,)))[host] > 0


async def test_two_more_gateways_have_their_share_of_one_connection_of_long_standing(
    triton_server: LocalTriton, second_triton: LocalTriton
) -> None:
    more = ("--max-connection-age-s", f"{AGE_S}")
    async with (
        placed(triton_server, second_triton, known=HOSTS[:1], more=more) as place,
        SteadyLoad(place.rows(), 40) as rows,
    ):
        await rows.after(AGE_S)
        first = await place.gateways.call_counts("ModelInfer")
        assert shares({}, first) == {HOSTS[0]: 1.0, HOSTS[1]: 0.0, HOSTS[2]: 0.0}
        place.names.addresses = list(HOSTS)
        await rows.after(2 * AGE_S)
        before = await place.gateways.call_counts("ModelInfer")
        await rows.after(AGE_S)
        got = shares(before, await place.gateways.call_counts("ModelInfer"))
    assert all(0.25 <= share <= 0.42 for share in got.values()), got
    assert set(rows.codes) == {"OK"}, rows.told


def weighted(config: dict[str, Any]) -> None:
    """Have Envoy weigh gateways by what they report, as `deploy/README.md` says it."""
    (cluster,) = config["static_resources"]["clusters"]
    del cluster["lb_policy"]
    name = "client_side_weighted_round_robin"
    kind = f"envoy.extensions.load_balancing_policies.{name}.v3.ClientSideWeightedRoundRobin"
    policy = {"@type": f"type.googleapis.com/{kind}", "blackout_period": "1s", "weight_update_period": "0.5s"}
    extension = {"name": f"envoy.load_balancing_policies.{name}", "typed_config": policy}
    cluster["load_balancing_policy"] = {"policies": [{"typed_extension_config": extension}]}


def busy_for(seconds: float) -> FakeModel:
    """Return a model whose one instance takes so long for each row."""
    instance = asyncio.Lock()

    async def answer(request: Any) -> Any:
        async with instance:
            await asyncio.sleep(seconds)
        return await echo(request)

    return FakeModel(echo_config(max_batch_size=1), answer=answer)


async def test_envoy_gives_a_gateway_that_can_do_less_less_by_what_gateways_report() -> None:
    quick_host, slow_host = HOSTS[:2]
    async with (
        FakeTriton(busy_for(0.02)) as quick,
        FakeTriton(busy_for(0.08)) as slow,
        NameServer(NAME, quick_host, slow_host) as names,
        Gateways("--default-model", "echo", "--imaging-workers", "1") as gateways,
    ):
        await gateways.start(quick_host, more=("--triton", quick.address))
        await gateways.start(slow_host, more=("--triton", slow.address))
        async with (
            running_envoy(names, gateways.port, weighted) as envoy,
            grpc.aio.insecure_channel(envoy.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel,
        ):
            await wait_serving(channel)
            infer = channel.unary_unary(INFER, bytes, bytes)
            async with SteadyLoad(lambda: infer(ECHO, timeout=5), 20) as load:
                await load.after(5.0)
                before = await gateways.call_counts("ModelInfer", HOSTS[:2])
                await load.after(4.0)
                got = shares(before, await gateways.call_counts("ModelInfer", HOSTS[:2]))
    assert got[slow_host] == pytest.approx(0.2, abs=0.1)
    assert set(load.codes) == {"OK"}, load.told


async def test_at_three_times_what_can_be_done_as_much_is_answered_and_no_gateway_is_ejected_for_refusing() -> None:
    batch_s, rows_a_batch = 0.2, 4
    capacity = 2 * rows_a_batch / batch_s

    def model() -> FakeModel:
        instance = asyncio.Lock()

        async def answer(request: Any) -> Any:
            async with instance:
                await asyncio.sleep(batch_s)
            return await echo(request)

        return FakeModel(echo_config(max_batch_size=rows_a_batch), answer=answer)

    async with (
        FakeTriton(model()) as one,
        FakeTriton(model()) as two,
        NameServer(NAME, *HOSTS) as names,
        Gateways(
            "--triton", one.address, "--triton", two.address, "--default-model", "echo", "--imaging-workers", "1"
        ) as gateways,
    ):
        await gateways.start(*HOSTS)
        async with (
            running_envoy(names, gateways.port) as envoy,
            grpc.aio.insecure_channel(envoy.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel,
        ):
            await wait_serving(channel)
            infer = channel.unary_unary(INFER, bytes, bytes)
            async with SteadyLoad(lambda: infer(ECHO, timeout=2), 3 * capacity) as load:
                await load.after(4.0)
                before = load.codes["OK"]
                await load.after(8.0)
                goodput = (load.codes["OK"] - before) / 8.0
            ejections = await envoy.statistics(f"{CLUSTER}outlier_detection.ejections_total")
    assert goodput >= 0.95 * capacity
    assert load.codes["RESOURCE_EXHAUSTED"] > load.codes["OK"]
    assert ejections[""] == 0


class Refusing(grpc.GenericRpcHandler):
    """Answers `/refused/CODE` with that code."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if not handler_call_details.method.startswith("/refused/"):
            return None
        code = grpc.StatusCode[handler_call_details.method.rpartition("/")[2]]

        async def refuse(_request: bytes, context: Any) -> None:
            await context.abort(code, "as asked")

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.mark.parametrize(
    ("code", "call_count", "ejected"),
    [("RESOURCE_EXHAUSTED", 90, False), ("DEADLINE_EXCEEDED", 30, False), ("UNAVAILABLE", 90, True)],
)
async def test_what_counts_against_a_gateway_is_that_it_cannot_serve(code: str, call_count: int, ejected: bool) -> None:
    port = free_port(HOSTS)
    async with AsyncExitStack() as stack:
        for host in HOSTS:
            server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
            server.add_generic_rpc_handlers((Refusing(),))
            healthy = health.aio.HealthServicer()
            await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
            server.add_insecure_port(f"{host}:{port}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        names = await stack.enter_async_context(NameServer(NAME, *HOSTS))
        envoy = await stack.enter_async_context(running_envoy(names, port))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(envoy.address))
        await wait_serving(channel)
        for _ in range(call_count):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(f"/refused/{code}", bytes, bytes)(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode[code]
        ejections = await envoy.statistics(f"{CLUSTER}outlier_detection.ejections_enforced_total")
    assert (ejections[""] > 0) is ejected
