# SPDX-License-Identifier: Apache-2.0
"""The pool before a real Triton: discovery, a version switch under load, a Triton that stops answering."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest
import tritonclient.grpc.aio as triton_aio
from matting_gateway.domain.model import ModelInput
from matting_gateway.triton.transport.failures import BackendHungError
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from open_inference.tensors import TensorSpec
from testkit.local_triton import copy_models
from testkit.pools import PATIENCE_S, batch_of, key_of, running_pool

pytestmark = pytest.mark.triton

ROW = key_of("delay", ("row", "UINT8", (8,)))


async def test_models_are_read_from_the_server(triton_server: LocalTriton) -> None:
    async with running_pool(triton_server.grpc_address) as pool:
        await pool.wait_until(lambda: pool.can_serve("two"))
        contracts = {contract.name: contract for contract in pool.models()}
        assert contracts["nothing"].matting == ModelInput(320, 320)
        assert contracts["two"].matting is None
        assert contracts["two"].inputs == (TensorSpec("left", "FP32", (4,)), TensorSpec("right", "FP32", (4,)))
        assert contracts["single"].max_batch_size == 0
        assert contracts["delay"].parameters["latency_ms"] == "20"
        (state,) = pool.endpoints(key_of("two", ("left", "FP32", (4,)), ("right", "FP32", (4,))))
        assert (state.instance_count, state.slot_count, state.max_batch_size) == (2, 4, 8)
        (single,) = pool.endpoints(key_of("single", ("values", "INT32", (5,))))
        assert single.max_batch_size == 1


async def test_models_without_batching_and_strings_and_halves_pass(triton_server: LocalTriton) -> None:
    address = triton_server.grpc_address
    async with running_pool(address) as pool:
        await pool.wait_until(lambda: pool.can_serve("strings"))
        single = batch_of(key_of("single", ("values", "INT32", (2,))), (b"\x02\0\0\0\x03\0\0\0",), batched=False)
        result = await pool.run_batch(address, single, PATIENCE_S)
        assert int.from_bytes(result.outputs[0][0].data, "little") == 5
        strings = batch_of(key_of("strings", ("text", "BYTES", (1,))), (b"\x02\0\0\0ab",), (b"\0\0\0\0",))
        result = await pool.run_batch(address, strings, PATIENCE_S)
        assert [bytes(outputs[0].data) for outputs in result.outputs] == [b"\x02\0\0\0ab", b"\0\0\0\0"]
        halves = batch_of(key_of("half", ("values", "FP16", (1,))), (b"\0\x3c",), (b"\0\xbc",))
        result = await pool.run_batch(address, halves, PATIENCE_S)
        assert [[bytes(o.data) for o in outputs] for outputs in result.outputs] == [
            [b"\0\x40", b"\1"],
            [b"\0\xc0", b"\0"],
        ]


async def test_a_version_switch_under_load_fails_no_call(triton_runtime: Runtime, tmp_path: Path) -> None:
    copy_models(["delay"], tmp_path)
    with LocalTriton(triton_runtime, tmp_path, grace_s=0) as triton:
        address = triton.grpc_address
        async with running_pool(address) as pool, triton_aio.InferenceServerClient(address) as control:
            await pool.wait_until(lambda: pool.can_serve("delay"))
            versions: set[str] = set()

            async def call_until(version: str) -> None:
                while version not in versions:
                    result = await pool.run_batch(address, batch_of(ROW, (bytes(8),)), PATIENCE_S)
                    versions.add(result.version)

            callers = [asyncio.create_task(call_until("2")) for _ in range(4)]
            shutil.copytree(tmp_path / "delay" / "1", tmp_path / "delay" / "2")
            await control.load_model("delay")
            await asyncio.gather(*callers)
            assert versions == {"1", "2"}
            await pool.wait_until(lambda: pool.model("delay").versions == ("2",))


async def test_a_stopped_triton_is_taken_out_and_serves_again_when_it_goes_on(
    triton_runtime: Runtime, tmp_path: Path
) -> None:
    copy_models(["delay"], tmp_path)
    with LocalTriton(triton_runtime, tmp_path, grace_s=0) as triton:
        address = triton.grpc_address
        async with running_pool(address) as pool:
            await pool.wait_until(lambda: pool.can_serve("delay"))
            assert triton.pid is not None
            os.kill(triton.pid, signal.SIGSTOP)
            try:
                with pytest.raises(BackendHungError):
                    await pool.run_batch(address, batch_of(ROW, (bytes(8),)), 0.3)
                assert not pool.can_serve("delay")
            finally:
                os.kill(triton.pid, signal.SIGCONT)
            await pool.wait_until(lambda: pool.can_serve("delay"), 5)
            result = await pool.run_batch(address, batch_of(ROW, (bytes(8),)), PATIENCE_S)
            assert bytes(result.outputs[0][0].data) == b"\xff" * 8
