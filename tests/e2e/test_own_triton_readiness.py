# SPDX-License-Identifier: Apache-2.0
"""Facts about a gateway with a Triton of its own: what is told while that starts, dies, and cannot load a model."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from matting.v1 import matting_service_pb2 as pb
from testkit.gateway import wait_serving
from testkit.local_triton import TEST_MODELS
from testkit.program import Service, running_service
from testkit.readiness import assert_all_say, line

pytestmark = pytest.mark.triton


def not_ready(told: dict[str, Any]) -> bool:
    return bool(told["event"] == "not_ready")


def says(service: Service) -> list[dict[str, Any]]:
    return [told for told in service.events if told["event"] == "triton_says"]


async def test_it_is_starting_then_serves_then_is_down_and_serves_again(tmp_path: Path) -> None:
    shutil.copytree(TEST_MODELS / "slow_matting", tmp_path / "models" / "slow_matting")
    # The model loads while the test holds the other end open, so that "starting" is seen however slow the machine is.
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    program = tmp_path / "models" / "slow_matting" / "1" / "model.py"
    program.write_text(f"open({str(gate)!r}).close()\n{program.read_text()}")
    arguments = ("--repository", str(tmp_path / "models"), "--default-model", "slow_matting")
    async with running_service(*arguments, serving=False) as service:
        told = await line(service, not_ready)
        assert (told["reason"], told["cause"]) == ("backend_starting", "the Triton run here is starting")
        opened = os.open(gate, os.O_RDWR)
        await wait_serving(service.channel)
        await line(service, lambda told: told["event"] == "serving")
        await assert_all_say(service, "serving")
        assert [told for told in service.events if told.get("level") in {"error", "fatal"}] == []
        assert all(told["cause"] for told in says(service))

        os.close(opened)
        before = len(service.events)
        triton = next(
            p for p in psutil.Process(service.process.pid).children(recursive=True) if p.name() == "tritonserver"
        )
        os.kill(triton.pid, signal.SIGKILL)
        died = await line(service, lambda told: told["event"] == "triton_died", before)
        assert died["cause"].startswith("its last words: ")
        await wait_serving(service.channel, serving=False)
        await line(service, not_ready, before)
        opened = os.open(gate, os.O_RDWR)
        await line(service, lambda told: told["event"] == "serving", before)
        await wait_serving(service.channel)
        await assert_all_say(service, "serving")
        os.close(opened)


async def test_why_its_default_model_did_not_load_is_told_whole(tmp_path: Path) -> None:
    shutil.copytree(TEST_MODELS / "slow_matting", tmp_path / "slow_matting")
    cause = 'a "quoted" word and ' + 500 * "x"
    (tmp_path / "slow_matting" / "1" / "model.py").write_text(f"raise ValueError({cause!r})\n")
    arguments = ("--repository", str(tmp_path), "--default-model", "slow_matting")
    async with running_service(*arguments, serving=False) as service:
        told = await line(service, lambda told: told["event"] == "not_ready" and told["reason"] == "model_failed")
        assert cause in told["cause"]
        state = await line(service, lambda told: told.get("state") == "model_failed")
        assert state["cause"] == f"slow_matting: ValueError: {cause}"
        await line(service, lambda told: told["event"] == "triton_says" and cause in told["cause"])
        assert cause in await assert_all_say(service, "not_ready")


_TALKATIVE = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        pb.Logger.log_warn("words at load")

    def execute(self, requests):
        pb.Logger.log_error("words about secret pixels")
        raise ValueError("secret pixels")
"""


async def test_what_it_says_after_its_start_is_told_without_its_words(tmp_path: Path) -> None:
    shutil.copytree(TEST_MODELS / "slow_matting", tmp_path / "slow_matting")
    (tmp_path / "slow_matting" / "1" / "model.py").write_text(_TALKATIVE)
    arguments = ("--repository", str(tmp_path), "--default-model", "slow_matting")
    async with running_service(*arguments) as service:
        await line(service, lambda told: told["event"] == "triton_says" and told["cause"] == "words at load")
        pixels = pb.PixelImage(data=bytes(48), width_px=4, height_px=4, pixel_format=pb.PIXEL_FORMAT_RGB8)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.stub.RemoveBackground(pb.RemoveBackgroundRequest(pixels=pixels), timeout=30)
        told = await line(service, lambda told: told["event"] == "triton_says" and told["level"] == "error")
        assert told["cause"] == ""
        assert told["where"]
        assert await service.stop() == 0
        assert "secret" not in str(service.events)
