# SPDX-License-Identifier: Apache-2.0
"""At which rate this generator itself is the bottleneck, on this machine.

Calls go to a server of its own process that answers at once and does nothing else, at rates that
double until calls are no longer sent on time. The server shares the machine's cores, so the true
limit is no lower than what is found.
"""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import grpc
import grpc.aio

from matting_load.arrivals import steady
from matting_load.plan import OpenLoop, Plan, TensorTarget
from matting_load.reports.report import Report
from matting_load.sending.wire import infer_response

_FIRST_RATE = 125.0
_MOST_RATE = 64_000.0
_TRIES = 3
_WARMUP_S = 0.5
# An answer may not be slower than this at the median, or the server is what is measured.
_SLOW_ANSWER_S = 0.05


def find_limit(
    *,
    processes: int,
    connections: int,
    call_bytes: int,
    trial_s: float,
    run: Callable[[Plan], Report],
    on_trial: Callable[[float, Report], None],
) -> float:
    """Return the highest rate, of those tried, at which every call was sent on time and answered; 0 for none."""
    reached = 0.0
    with trivial_server() as address:
        target = TensorTarget(address, shape=(1, call_bytes))
        rate = _FIRST_RATE
        while rate <= _MOST_RATE:
            load = OpenLoop(steady(rate, trial_s + _WARMUP_S))
            plan = Plan(target, load, warmup_s=_WARMUP_S, processes=processes, connections=connections)
            # A rate is tried several times: another program may have taken the processor.
            if not any(_tried(plan, rate, run, on_trial) for _ in range(_TRIES)):
                break
            reached, rate = rate, rate * 2
    return reached


def _tried(plan: Plan, rate: float, run: Callable[[Plan], Report], on_trial: Callable[[float, Report], None]) -> bool:
    report = run(plan)
    on_trial(rate, report)
    return kept_up(report)


def kept_up(report: Report) -> bool:
    """Tell whether the load was sent as planned, and answered as fast as a server that does nothing answers."""
    latency = report.total.latency
    answered = report.total.good_share > 0.999 and latency is not None and latency.p50_s < _SLOW_ANSWER_S
    return answered and not report.generator.suspect


@contextmanager
def trivial_server() -> Iterator[str]:
    """Run a server of the Open Inference Protocol in a process of its own; yields its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield str(ours.recv())
    finally:
        process.terminate()
        process.join()
        ours.close()


def _serve(pipe: "Connection[object, object]") -> None:
    asyncio.run(_answer_at_once(pipe))


async def _answer_at_once(pipe: "Connection[object, object]") -> None:
    answer = infer_response(b"done")

    async def infer(request: bytes, context: object) -> bytes:
        return answer

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(infer)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()
