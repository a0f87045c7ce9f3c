# SPDX-License-Identifier: Apache-2.0
"""What traces cost: processor time a call with none, with 1% and with all of the calls traced, switched each second.

One gateway, in this very process, hardened as the program is; callers in a closed loop, a collector and a Triton with
a model that does nothing are processes of their own. Every second the sampling is another, in an order drawn anew for
each round of four, so that what else the machine does hits all alike; the first 0.2 s of each are not counted, as spans
of before are sent then. Prints Markdown: for tensors and for photos the processor time of a call without traces, and
how much more it is with them, as a median over all rounds with an interval of 95% (bootstrap). A round has two seconds
without traces: how much more the other takes is what the machine makes of nothing.
`python tests/bench/tracing_cost.py [--rounds N] [--calls tensors]`
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from matting_gateway.privacy.hardening import reexec_if_needed
from matting_gateway.privacy.settings import HardeningSettings

_SETTLE_S, _COUNTED_S = 0.2, 1.0
_SHARES = {"none": 0.0, "none again": 0.0, "1%": 0.01, "all": 1.0}
_SIDE_PX = 1600


@contextmanager
def beside(work: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Run something in a process of its own, that starts with nothing of this one, until the end of the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def collect(told: Connection) -> None:
    """Be a collector; tell its address."""
    from testkit.collector import FakeCollector  # noqa: PLC0415 - in its own process

    async def run() -> None:
        async with FakeCollector() as collector:
            told.send(collector.address)
            while True:
                await asyncio.sleep(1.0)
                collector.spans.clear()

    asyncio.run(run())


def call_on(_told: Connection, address: str, kind: str, callers: int) -> None:
    """Call without end, each caller once its last call is answered."""
    asyncio.run(call_forever(address, kind, callers))


async def call_forever(address: str, kind: str, callers: int) -> None:
    import grpc  # noqa: PLC0415 - in its own process
    from matting.v1 import matting_service_pb2 as pb  # noqa: PLC0415
    from matting_load.sending.payloads import make_jpeg  # noqa: PLC0415
    from tritonclient.grpc import service_pb2  # noqa: PLC0415

    if kind == "tensors":
        method = "/inference.GRPCInferenceService/ModelInfer"
        request = service_pb2.ModelInferRequest(model_name="nothing")
        request.inputs.add(name="image", datatype="UINT8", shape=[1, 320, 320, 3])
        request.raw_input_contents.append(bytes(320 * 320 * 3))
        message = request.SerializeToString()
    else:
        method = "/matting.v1.MattingService/RemoveBackground"
        photo = pb.EncodedImage(content=make_jpeg(_SIDE_PX, _SIDE_PX, seed=1))
        message = pb.RemoveBackgroundRequest(encoded=photo).SerializeToString()
    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(method, bytes, bytes)

        async def caller() -> None:
            while True:
                # A machine that is busy otherwise can make a batch look hung; any client tries again.
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call(message)

        await asyncio.gather(*(caller() for _ in range(callers)))


async def measure(triton: str, collector: str, kind: str, callers: int, rounds: int) -> list[dict[str, float]]:
    """Return the processor time of a call in microseconds, by what is traced, for each round."""
    from matting_gateway.clock import SystemClock  # noqa: PLC0415 - after the process has begun anew
    from matting_gateway.tracing import exporter  # noqa: PLC0415
    from matting_gateway.tracing.sampler import Sampler  # noqa: PLC0415
    from matting_gateway.tracing.settings import TracingSettings  # noqa: PLC0415
    from testkit.gateway import running_gateway  # noqa: PLC0415
    from testkit.perf_analyzer import cpu_s, tree  # noqa: PLC0415

    exporter._BUNCH_S = 0.15  # a second pays for its own spans
    tracing = TracingSettings(collector)
    before = {*tree(os.getpid())}
    async with running_gateway(triton, default_model="nothing", tracing=tracing) as running:
        assert running.gateway._traces is not None
        boundary, put = running.gateway.frontend.boundary, running.gateway._traces.put
        workers = [pid for pid in tree(os.getpid()) if pid not in before]
        samplers = {
            name: Sampler(replace(tracing, sample_ratio=share), clock=SystemClock(), on_end=put) if share else None
            for name, share in _SHARES.items()
        }

        def used_s() -> float:
            return time.process_time() + cpu_s(workers)

        async def second(name: str) -> float:
            boundary._sampler = samplers[name]
            await asyncio.sleep(_SETTLE_S)
            since_s, (count, _) = used_s(), boundary.came_and_failed()
            await asyncio.sleep(_COUNTED_S)
            return 1e6 * (used_s() - since_s) / max(1.0, boundary.came_and_failed()[0] - count)

        with beside(call_on, running.address, kind, callers):
            await asyncio.sleep(5.0)
            found = []
            for _ in range(rounds):
                names = random.sample([*_SHARES], len(_SHARES))
                found.append({name: await second(name) for name in names})
            return found


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Return the median, and between what it is in 95 of 100 samples drawn anew from these."""
    medians = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(2000))
    return statistics.median(ratios), medians[50], medians[1949]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--calls", nargs="+", choices=("tensors", "photos"), default=["tensors", "photos"])
    given = parser.parse_args()
    reexec_if_needed(HardeningSettings(confine_files=False), os.environ)
    import uvloop  # noqa: PLC0415 - after the process has begun anew
    from bench.end_to_end import machine  # noqa: PLC0415
    from matting_triton.install import ensure_runtime  # noqa: PLC0415
    from matting_triton.local import LocalTriton  # noqa: PLC0415
    from testkit.local_triton import CACHE_DIR, QUICK_START, copy_models  # noqa: PLC0415

    print(f"{machine()}; {given.callers} callers, {given.rounds} rounds\n")
    print(
        "| calls | CPU of a call without traces, us | without, again | 1% traced | all traced |\n|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        copy_models(["nothing"], Path(folder))
        with (
            LocalTriton(ensure_runtime(CACHE_DIR), Path(folder), extra_arguments=QUICK_START) as triton,
            beside(collect) as collector,
        ):
            address = collector.recv()
            for kind in given.calls:
                work = measure(triton.grpc_address, address, kind, given.callers, given.rounds)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    found = runner.run(work)
                cells = [f"{statistics.median(one['none'] for one in found):.0f}"]
                for name in [*_SHARES][1:]:
                    middle, low, high = interval([one[name] / one["none"] - 1 for one in found])
                    cells.append(f"{middle:+.1%} ({low:+.1%} to {high:+.1%})")
                print(f"| {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
