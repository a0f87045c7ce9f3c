# SPDX-License-Identifier: Apache-2.0
"""Photos a second beside mosec's: `python tests/bench/photo_mosec.py [--model u2net-int8] [--pairs 5]`.

mosec (PyPI) is a server with a front in Rust and stages in processes; here it has the gateway's codecs, resizing and
PNG writer (`mosec_server.py`), and neither limits nor a sandbox nor overwriting. Both are up at once and are asked in
turn, by the same load generator: 1600x1600 JPEG in, alpha PNG out, callers in a closed loop. The model does nothing, or
is that of the repository, in OpenVINO on both sides. Prints Markdown.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import matting_load as load
from bench.end_to_end import machine, rival_python, wait_served
from bench.photo_cost import answered, given_model
from matting_load.outcomes import LATE, OK
from testkit.gateways import free_port
from testkit.perf_analyzer import cpu_s, tree
from testkit.program import ROOT, running_service

MOSEC = "mosec==0.9.8"


@contextlib.contextmanager
def mosec_server(model: Path | None) -> Iterator[tuple[str, int]]:
    """Run the rival; yields its URL and process id."""
    port = free_port(("127.0.0.1",))
    # The codecs are this environment's; where its packages are installed in place, its path does not name them.
    path = os.pathsep.join((str(ROOT / "server"), *sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "RIVAL_MODEL": str(model or "")}
    server = Path(__file__).with_name("mosec_server.py")
    options = ("--address", "127.0.0.1", "--port", str(port), "--timeout", "60000", "--log-level", "error")
    process = subprocess.Popen([rival_python(MOSEC), server, *options], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_served(process, f"{url}/metrics")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


@dataclass
class Rival:
    """One server under measurement, and what was measured of it."""

    name: str
    target: load.GatewayTarget | load.RembgTarget
    pid: int
    per_s: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)


async def measure(rival: Rival, callers: int, seconds: float) -> None:
    before_s = cpu_s(tree(rival.pid))
    total = await answered(rival.target, callers, seconds)
    failed = {each.name: each.count for each in total.outcomes if each.name not in (OK, LATE)}
    if failed:
        raise RuntimeError(f"{rival.name} did not answer all photos: {failed}")
    rival.per_s.append(total.throughput_per_s)
    rival.ms.append(1e3 * (cpu_s(tree(rival.pid)) - before_s) / (total.throughput_per_s * total.duration_s))


async def compare(rivals: tuple[Rival, Rival], given: argparse.Namespace) -> None:
    for callers in given.callers:
        for rival in rivals:
            await measure(rival, callers, 3.0)
            rival.per_s.clear()
            rival.ms.clear()
        for number in range(given.pairs):
            for rival in rivals if number % 2 else reversed(rivals):
                await measure(rival, callers, given.seconds)
        show(rivals, callers)


def show(rivals: tuple[Rival, Rival], callers: int) -> None:
    print(f"| {callers} callers | photos/s | CPU a photo, ms |\n|---|---|---|")
    for rival in rivals:
        print(f"| {rival.name} | {statistics.median(rival.per_s):.2f} | {statistics.median(rival.ms):.1f} |")
    gateway, mosec = rivals
    ratios = sorted(ours / theirs for ours, theirs in zip(gateway.per_s, mosec.per_s, strict=True))
    print(f"| ratio | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | |\n", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nothing", help="or a model of model_repository")
    parser.add_argument("--callers", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    print(f"{machine()}; 1600x1600 JPEG to alpha PNG, {given.model}\n", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        onnx = given_model(given.model, folder)
        url, pid = stack.enter_context(mosec_server(onnx))
        async with running_service("--repository", str(folder), "--default-model", given.model) as service:
            own = service.process.pid
            await compare(
                (
                    Rival("gateway", load.GatewayTarget(service.address, model=given.model), own),
                    Rival(MOSEC, load.RembgTarget(url), pid),
                ),
                given,
            )


if __name__ == "__main__":
    asyncio.run(main())
