# SPDX-License-Identifier: Apache-2.0
"""Calls at given times, whatever the answers do: latency counts from the intended time of sending."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import grpc
from bench.simulator.arrivals import Arrival
from tritonclient.grpc import service_pb2 as pb

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# What gRPC itself says in the caller when nothing was heard until the deadline.
_OWN_TIMER = "Deadline Exceeded"


@dataclass(slots=True)
class Run:
    """What became of the calls of one run; times in seconds since each call's intended sending."""

    duration_s: float
    offered: Counter[str] = field(default_factory=Counter)
    in_time: Counter[str] = field(default_factory=Counter)
    answered_s: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    refused_s: list[float] = field(default_factory=list)
    # Of calls given up later: seconds from the deadline until their callers heard so, negative before it.
    dropped_after_s: list[float] = field(default_factory=list)
    # Of calls that nothing was heard of: the same, by the caller's own timer.
    silent_after_s: list[float] = field(default_factory=list)
    wrong: int = 0
    in_window: int = 0
    send_lag_s: list[float] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Answers in time that came while calls were still sent, per second: the tail is no throughput."""
        return self.in_window / self.duration_s

    @property
    def offered_rate(self) -> float:
        return self.offered.total() / self.duration_s


class InferenceCalls:
    """Calls a model of one UINT8 row of 8 bytes at an Open Inference Protocol server, several channels wide."""

    def __init__(self, address: str, model: str, channel_count: int = 4, *, send_timeout: bool = False) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(channel_count)]
        self._methods = [
            channel.unary_unary(_METHOD, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString)
            for channel in self._channels
        ]
        self._model = model
        self._send_timeout = send_timeout
        self._turn = 0

    async def call(self, deadline_in_s: float, allowed_s: float) -> bool:
        """Make one call; returns whether the answer is right. Raises grpc.aio.AioRpcError."""
        self._turn += 1
        row = self._turn.to_bytes(8, "little")
        request = pb.ModelInferRequest(model_name=self._model, raw_input_contents=[row])
        request.inputs.add(name="row", datatype="UINT8", shape=[1, 8])
        if self._send_timeout:
            # What is left for queueing if the batch is a full one.
            request.parameters["timeout"].int64_param = max(1, int((allowed_s - 0.065) * 1e6))
        method = self._methods[self._turn % len(self._methods)]
        response = await method(request, timeout=max(deadline_in_s, 0.001))
        return bool(response.raw_output_contents[0] == bytes(255 - value for value in row))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


async def offer(call: Callable[[float, float], Awaitable[bool]], arrivals: Sequence[Arrival], duration_s: float) -> Run:
    """Make all calls at their times, wait for every end, and count."""
    run = Run(duration_s)
    began_s = time.monotonic() + 0.1
    tasks: set[asyncio.Task[None]] = set()
    for arrival in arrivals:
        pause_s = began_s + arrival.at_s - time.monotonic()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        run.send_lag_s.append(max(0.0, -pause_s))
        task = asyncio.create_task(_one(call, arrival, began_s, run))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks)
    return run


async def _one(call: Callable[[float, float], Awaitable[bool]], arrival: Arrival, began_s: float, run: Run) -> None:
    intended_s = began_s + arrival.at_s
    deadline_s = began_s + arrival.deadline_s
    run.offered[arrival.group] += 1
    try:
        right = await call(deadline_s - time.monotonic(), arrival.deadline_s - arrival.at_s)
    except grpc.aio.AioRpcError as error:
        now_s = time.monotonic()
        run.codes[error.code().name] += 1
        details = error.details() or ""
        displaced = details.startswith("Others")
        if (error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not displaced) or "allows" in details:
            run.refused_s.append(now_s - intended_s)
        elif details == _OWN_TIMER:
            run.silent_after_s.append(now_s - deadline_s)
        else:
            run.dropped_after_s.append(now_s - deadline_s)
    else:
        now_s = time.monotonic()
        run.codes["OK"] += 1
        run.wrong += not right
        run.answered_s.append(now_s - intended_s)
        if now_s <= deadline_s:
            run.in_time[arrival.group] += 1
            run.in_window += now_s <= began_s + run.duration_s


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all stay under; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
