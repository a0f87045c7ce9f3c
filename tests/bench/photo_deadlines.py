# SPDX-License-Identifier: Apache-2.0
"""More photos with deadlines than can be done: `python tests/bench/photo_deadlines.py [--before CHECKOUT]`.

Photos of 1 and 12 megapixels, alphas and cutouts, half of them with 1 s and half with 3 s, come at 1.5 and 3 times the
rate at which the same mix is answered without hurry; with a model that does nothing, so that imaging is what there is
too little of. Prints Markdown: what was answered in time over that rate, and of those let in how many were late.
With `--before` a gateway of another checkout (its own `.venv`) is measured in turn.
"""

import argparse
import asyncio
import io
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc
from bench.end_to_end import machine
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from PIL import Image
from testkit import program
from testkit.local_triton import CACHE_DIR, QUICK_START, copy_models
from testkit.photos import sample_photo
from testkit.program import running_service

DEADLINES_S = (1.0, 3.0)
LOADS = (1.5, 3.0)
SIZES_PX = ((1152, 864), (4000, 3000))
# (size, kind, share): small ones more often than large ones, alphas more often than cutouts.
MIX = (
    (0, pb.OUTPUT_KIND_ALPHA, 4),
    (0, pb.OUTPUT_KIND_CUTOUT, 2),
    (1, pb.OUTPUT_KIND_ALPHA, 2),
    (1, pb.OUTPUT_KIND_CUTOUT, 1),
)
CALLER_COUNT = 8


def requests() -> list[pb.RemoveBackgroundRequest]:
    """Return a request for each of `MIX`."""
    files = []
    for width_px, height_px in SIZES_PX:
        file = io.BytesIO()
        Image.fromarray(sample_photo(width_px, height_px)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return [
        pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=files[size]), outputs=[pb.OutputSpec(kind=kind)])
        for size, kind, _ in MIX
    ]


class Callers:
    """Sends photos to one gateway, over four connections."""

    def __init__(self, address: str) -> None:
        options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
        self._channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(4)]
        self._stubs = [pb_grpc.MattingServiceStub(each) for each in self._channels]  # type: ignore[no-untyped-call]  # generated without types
        self._requests = requests()
        self._chance = random.Random(1)

    async def call(self, timeout_s: float) -> str:
        """Send one of the mix, and return how it ended."""
        request = self._chance.choices(self._requests, [share for *_, share in MIX])[0]
        try:
            await self._chance.choice(self._stubs).RemoveBackground(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            at_once = b"DEADLINE_UNREACHABLE" in dict(error.trailing_metadata() or ()).get(
                "grpc-status-details-bin", b""
            )
            return "UNREACHABLE" if at_once else str(error.code().name)
        return "OK"

    async def unhurried_per_s(self, seconds: float) -> float:
        """Return how many photos a second are answered where nobody is in a hurry."""
        started_s = time.perf_counter()

        async def caller() -> int:
            count = 0
            while time.perf_counter() < started_s + seconds:
                count += await self.call(60.0) == "OK"
            return count

        counts = await asyncio.gather(*(caller() for _ in range(CALLER_COUNT)))
        return sum(counts) / (time.perf_counter() - started_s)

    async def hurried(self, per_s: float, seconds: float) -> Counter[str]:
        """Send so many a second, whatever becomes of those before, and return how they ended."""
        calls, due_s = [], time.perf_counter()
        end_s = due_s + seconds
        while due_s < end_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            calls.append(asyncio.create_task(self.call(self._chance.choice(DEADLINES_S))))
            due_s += self._chance.expovariate(per_s)
        return Counter(await asyncio.gather(*calls))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


async def measure(name: str, address: str, seconds: float) -> None:
    callers = Callers(address)
    await callers.unhurried_per_s(3.0)
    capacity_per_s = await callers.unhurried_per_s(seconds)
    for load in LOADS:
        ended = await callers.hurried(load * capacity_per_s, seconds)
        late = ended["DEADLINE_EXCEEDED"]
        good = ended["OK"] / seconds / capacity_per_s
        let_in = max(1, ended["OK"] + late)
        print(
            f"| {name} | {load} | {sum(ended.values())} | {good:.2f} | {late / let_in:.1%} | {dict(ended)} |",
            flush=True,
        )
        await callers.unhurried_per_s(1.0)
    await callers.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="another checkout, to measure beside this one")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    print(f"{machine()}\n\n| tree | times possible | offered | in time / unhurried | late of those let in | |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copy_models(["nothing"], Path(folder))
        with LocalTriton(ensure_runtime(CACHE_DIR), Path(folder), extra_arguments=QUICK_START) as triton:
            for _ in range(given.rounds):
                for name, checkout in (("before", given.before), ("this tree", program.ROOT)):
                    if checkout is not None:
                        program.PROGRAM = checkout.resolve() / ".venv" / "bin" / "matting-gateway"
                        arguments = ("--triton", triton.grpc_address, "--default-model", "nothing")
                        async with running_service(*arguments) as service:
                            await measure(name, service.address, given.seconds)


if __name__ == "__main__":
    asyncio.run(main())
