# SPDX-License-Identifier: Apache-2.0
"""Batches through shared memory: right, never reused too early, overwritten, and gone in the end."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_h2.bodies.idle_memory import Later
from matting_gateway.triton.shared_memory.slab import Lease
from matting_gateway.triton.shared_memory.slabs import SharedMemory, remove_left_segments
from matting_triton.local import LocalTriton
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.local_triton import segments
from testkit.pools import PATIENCE_S, batch_of, key_of, running_pool
from tritonclient.grpc import service_pb2

IMAGE = key_of("nothing", ("image", "UINT8", (320, 320, 3)), outputs=("alpha",))
WIDE = 40_000
ROW = key_of("echo", ("x", "UINT8", (WIDE,)))
MIB = 1 << 20


def image(value: int) -> tuple[bytes]:
    return (bytes((value,)) * (320 * 320 * 3),)


async def with_slab_of(triton: FakeTriton, later: Later | None = None) -> tuple[grpc.aio.Channel, SharedMemory, Lease]:
    channel = grpc.aio.insecure_channel(triton.address)
    memory = SharedMemory(channel, budget_bytes=MIB, scrub=True, timeout_s=5, later=later)
    lease = await memory.lease(100_000, 0)
    assert lease is not None
    return channel, memory, lease


async def test_a_slab_has_no_name_once_it_is_registered_and_is_overwritten_once_it_has_rested() -> None:
    ticks: list[Callable[[], None]] = []
    async with FakeTriton(shared_memory=True) as triton:
        channel, memory, lease = await with_slab_of(triton, lambda _, act: ticks.append(act))
        assert segments("matting-") == []
        offset = lease.place(6)
        lease.view[offset : offset + 6] = b"photo!"
        view, slab = lease.view[:6], lease.slab
        del lease
        ticks.pop()()
        assert memory.statistics().leased_count == 1  # a view is left
        assert bytes(view) == b"photo!"
        del view
        assert memory.statistics().leased_count == 0
        ticks.pop()()
        assert slab.memory[:6] == b"photo!"  # the next batch may overwrite it
        ticks.pop()()
        assert slab.memory[:6] == bytes(6)
        assert ticks == []
        again = await memory.lease(50_000, 0)
        assert again is not None
        assert again.slab is slab
        del again
        await memory.close()
        assert triton.regions == []
        await channel.close()


async def test_a_slab_that_is_used_again_is_empty_but_for_what_will_be_filled() -> None:
    async with FakeTriton(shared_memory=True) as triton:
        channel, memory, lease = await with_slab_of(triton)
        slab, view = lease.slab, lease.view
        view[lease.place(1000) :][:1000] = b"x" * 1000
        del lease, view
        again = await memory.lease(100_000, 500)
        assert again is not None
        assert again.slab is slab
        again.view[again.place(450) :][:450] = b"y" * 450
        answer = again.place(1000)
        assert slab.memory[450:512] == bytes(50) + slab.memory[500:512]
        assert slab.memory[answer : answer + 1000] == bytes(1000)
        assert b"x" not in slab.memory[: answer + 1000]
        del again
        await memory.close()
        await channel.close()


async def test_the_budget_holds_and_unused_slabs_make_room() -> None:
    async with FakeTriton(shared_memory=True) as triton:
        channel, memory, lease = await with_slab_of(triton)
        assert await memory.lease(MIB, 0) is None
        region = lease.slab.region
        del lease
        larger = await memory.lease(MIB, 0)
        assert larger is not None
        assert region not in triton.regions
        assert memory.statistics().slab_bytes == MIB
        await channel.close()


async def test_a_slab_that_no_batch_used_between_two_looks_is_given_up_and_one_in_use_is_not() -> None:
    async with FakeTriton(shared_memory=True) as triton:
        channel, memory, lease = await with_slab_of(triton)
        small = await memory.lease(1_000, 0)
        assert small is not None
        kept = lease.slab.region
        del small
        await memory.give_up_idle()
        assert memory.statistics().slab_count == 2
        await memory.give_up_idle()
        assert triton.regions == [kept]
        del lease
        await memory.give_up_idle()
        assert triton.regions == [kept]
        again = await memory.lease(100_000, 0)
        assert again is not None
        assert again.slab.region == kept
        del again
        await memory.give_up_idle()
        await memory.give_up_idle()
        assert (triton.regions, memory.statistics().slab_bytes) == ([], 0)
        await channel.close()


async def test_a_void_slab_is_never_used_again() -> None:
    async with FakeTriton(shared_memory=True) as triton:
        channel, memory, lease = await with_slab_of(triton)
        slab = lease.slab
        slab.void = True
        del lease
        again = await memory.lease(100_000, 0)
        assert again is not None
        assert again.slab is not slab
        assert memory.statistics().slab_count == 1
        memory.forget()
        del again
        assert memory.statistics().slab_count == 0
        await channel.close()


async def test_memory_of_a_cancelled_batch_is_kept_until_the_backend_is_done_with_it() -> None:
    go = asyncio.Event()

    async def slow(request: service_pb2.ModelInferRequest) -> Any:
        await go.wait()
        response = service_pb2.ModelInferResponse(model_name="echo", model_version="1")
        response.outputs.add(name="y", datatype="UINT8", shape=request.inputs[0].shape)
        response.raw_output_contents.append(b"")
        return response

    model = FakeModel(echo_config(width=WIDE), answer=slow)
    async with FakeTriton(model, shared_memory=True) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))

        def leased() -> int:
            return pool.statistics().endpoints[0].shared_memory.leased_count

        call = asyncio.create_task(pool.run_batch(triton.address, batch_of(ROW, (bytes(WIDE),)), PATIENCE_S))
        await triton.wait_for_requests(1)
        assert triton.requests[0].inputs[0].parameters["shared_memory_region"].string_param in triton.regions
        assert list(triton.requests[0].raw_input_contents) == []
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert leased() == 1
        second = asyncio.create_task(pool.run_batch(triton.address, batch_of(ROW, (bytes(WIDE),)), PATIENCE_S))
        await triton.wait_for_requests(2)
        regions = {r.inputs[0].parameters["shared_memory_region"].string_param for r in triton.requests}
        assert len(regions) == 2
        go.set()
        await second
        del second, call
        async with asyncio.timeout(PATIENCE_S):
            while leased():  # the call that nobody waits for is answered too
                await asyncio.sleep(0)
                gc.collect()  # the exceptions of cancelled tasks refer to one another


@pytest.mark.triton
async def test_images_through_the_memory_of_a_real_triton_are_each_ones_own(triton_server: LocalTriton) -> None:
    address = triton_server.grpc_address
    async with running_pool(address) as pool:
        await pool.wait_until(lambda: pool.can_serve("nothing"))

        async def send(values: range) -> None:
            result = await pool.run_batch(address, batch_of(IMAGE, *map(image, values)), PATIENCE_S)
            for value, outputs in zip(values, result.outputs, strict=True):
                assert set(outputs[0].data) == {value}

        for _ in range(3):
            await asyncio.gather(*(send(range(start, start + 1 + start % 8)) for start in range(0, 24, 3)))
        statistics = pool.statistics().endpoints[0].shared_memory
        assert statistics.slab_count > 0
        assert (statistics.leased_count, statistics.refusal) == (0, "")
        assert segments("matting-") == []


@pytest.mark.triton
async def test_a_triton_that_was_killed_gets_new_memory_when_it_returns(triton_runtime: Any) -> None:
    from testkit.local_triton import TEST_MODELS  # noqa: PLC0415 - used here only

    with LocalTriton(triton_runtime, TEST_MODELS, grace_s=0) as triton:
        address = triton.grpc_address
        async with running_pool(address) as pool:
            await pool.wait_until(lambda: pool.can_serve("nothing"))
            await pool.run_batch(address, batch_of(IMAGE, image(1)), PATIENCE_S)
            assert triton.pid is not None
            os.kill(triton.pid, signal.SIGKILL)
            await pool.wait_until(lambda: not pool.can_serve("nothing"))
            await asyncio.to_thread(triton.stop)
            assert segments("matting-") == []
            with LocalTriton(triton_runtime, TEST_MODELS, grpc_port=int(address.rpartition(":")[2]), grace_s=0):
                await pool.wait_until(lambda: pool.can_serve("nothing"), 30)
                result = await pool.run_batch(address, batch_of(IMAGE, image(7)), PATIENCE_S)
                assert set(result.outputs[0][0].data) == {7}
                assert pool.statistics().endpoints[0].shared_memory.slab_count == 1


def test_segments_of_dead_gateways_are_removed_and_those_of_living_ones_are_not() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(f"/dev/shm/matting-{dead.pid}-0123456789abcdef")
    alive = Path(f"/dev/shm/matting-{os.getpid()}-0123456789abcdef")
    for path in (left, alive):
        path.touch()
    try:
        remove_left_segments()
        assert not left.exists()
        assert alive.exists()
    finally:
        alive.unlink()
