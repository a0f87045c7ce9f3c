# SPDX-License-Identifier: Apache-2.0
"""The supervisor keeps a Triton running on one address, tells what happens, and never blocks the loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc.aio as triton_client
from matting_triton.backoff import Backoff
from matting_triton.errors import PortTakenError, TritonStartError
from matting_triton.ports import HeldPort
from matting_triton.runtime import Runtime
from matting_triton.supervisor import EventKind, SupervisorEvent, TritonSupervisor
from testkit.local_triton import QUICK_START, copy_models

pytestmark = pytest.mark.triton

_PATIENCE_S = 30.0
_SOON = Backoff(initial_s=0.05, max_s=0.2)


class Story:
    """What a supervisor told, to wait for the next event of a kind."""

    def __init__(self) -> None:
        self.events: list[SupervisorEvent] = []
        self._queue: asyncio.Queue[SupervisorEvent] = asyncio.Queue()

    def take(self, event: SupervisorEvent) -> None:
        self.events.append(event)
        self._queue.put_nowait(event)

    async def until(self, kind: EventKind) -> SupervisorEvent:
        async with asyncio.timeout(_PATIENCE_S):
            while (event := await self._queue.get()).kind is not kind:
                pass
        return event

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


@asynccontextmanager
async def _supervised(runtime: Runtime, repository: Path, story: Story) -> AsyncIterator[TritonSupervisor]:
    supervisor = TritonSupervisor(runtime, repository, on_event=story.take, backoff=_SOON, extra_arguments=QUICK_START)
    try:
        await supervisor.start()
        yield supervisor
    finally:
        await supervisor.stop()


async def _serves(address: str) -> bool:
    async with triton_client.InferenceServerClient(address) as client:
        return bool(await client.is_model_ready("single"))


async def test_restarts_on_the_same_address_whenever_triton_dies(triton_runtime: Runtime, tmp_path: Path) -> None:
    story = Story()
    async with _supervised(triton_runtime, copy_models(["single"], tmp_path), story) as supervisor:
        await story.until(EventKind.READY)
        address = supervisor.grpc_address
        for deaths in (1, 2):
            psutil.Process(supervisor.pid).kill()
            await story.until(EventKind.DIED)
            await story.until(EventKind.READY)
            assert supervisor.grpc_address == address
            assert await _serves(address)
            assert supervisor.statistics().restart_count == deaths
        assert supervisor.statistics().ready
    assert story.kinds[-1] is EventKind.STOPPED
    assert not supervisor.statistics().ready


async def test_restarts_when_the_process_of_a_model_dies(triton_runtime: Runtime, tmp_path: Path) -> None:
    """Triton itself would answer every call to that model with an error from then on."""
    story = Story()
    async with _supervised(triton_runtime, tmp_path, story) as supervisor:
        await story.until(EventKind.READY)
        copy_models(["single"], tmp_path)
        async with triton_client.InferenceServerClient(supervisor.grpc_address) as client:
            await client.load_model("single")
        psutil.Process(supervisor.pid).children()[0].kill()
        await story.until(EventKind.STUB_DIED)
        await story.until(EventKind.READY)
        assert await _serves(supervisor.grpc_address)


async def test_unloading_a_model_is_no_death(triton_runtime: Runtime, tmp_path: Path) -> None:
    story = Story()
    async with _supervised(triton_runtime, copy_models(["single"], tmp_path), story) as supervisor:
        await story.until(EventKind.READY)
        stub = psutil.Process(supervisor.pid).children()[0]
        async with triton_client.InferenceServerClient(supervisor.grpc_address) as client:
            await client.unload_model("single")
            await asyncio.to_thread(stub.wait, _PATIENCE_S)
            # Loading it again takes longer than the watch needs to make up its mind.
            await client.load_model("single")
    assert EventKind.STUB_DIED not in story.kinds
    assert EventKind.DIED not in story.kinds


async def test_a_model_that_fails_is_told_and_the_rest_serves(triton_runtime: Runtime, tmp_path: Path) -> None:
    story = Story()
    repository = copy_models(["single", "half"], tmp_path)
    (repository / "half" / "1" / "model.py").write_text("raise ValueError('broken on purpose')\n")
    async with _supervised(triton_runtime, repository, story) as supervisor:
        await supervisor.wait_ready()
        assert await _serves(supervisor.grpc_address)
        assert supervisor.statistics().failed_models == {"half": "ValueError: broken on purpose"}
        failed = await story.until(EventKind.MODEL_FAILED)
    assert failed.detail == "half: ValueError: broken on purpose"


@pytest.mark.alone
async def test_the_loop_runs_on_while_triton_starts_and_stops(triton_runtime: Runtime, tmp_path: Path) -> None:
    longest_s = 0.0

    async def measure() -> None:
        nonlocal longest_s
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, loop.time() - before)

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(measure())
        async with _supervised(triton_runtime, copy_models(["single"], tmp_path), Story()) as supervisor:
            await supervisor.wait_ready()
        ticking.cancel()
    assert longest_s < 0.5


async def test_stopping_while_it_starts_is_told_to_who_waits_and_ends_it(
    triton_runtime: Runtime, tmp_path: Path
) -> None:
    story = Story()
    async with _supervised(triton_runtime, copy_models(["two"], tmp_path), story) as supervisor:
        waiting = asyncio.create_task(supervisor.wait_ready())
        await story.until(EventKind.STARTED)
    with pytest.raises(TritonStartError, match="stopped"):
        await waiting
    assert story.kinds == [EventKind.STARTED, EventKind.STOPPED]


async def test_a_taken_port_is_refused_at_start(triton_runtime: Runtime, tmp_path: Path) -> None:
    held = HeldPort()
    try:
        supervisor = TritonSupervisor(triton_runtime, tmp_path, grpc_port=held.number)
        with pytest.raises(PortTakenError):
            await supervisor.start()
        await supervisor.stop()
    finally:
        held.close()
