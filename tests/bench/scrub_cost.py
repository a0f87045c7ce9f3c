# SPDX-License-Identifier: Apache-2.0
"""What overwriting memory costs: photos a second with it and without it, `python tests/bench/scrub_cost.py`.

Two gateways, each with a Triton of its own, are up at once and answer the same photos in turn, in
pairs of short runs whose order changes, so that what else the machine does hits both alike. Each
run follows a few photos that do not count: the first after a rest find the model's memory given
back. 1600x1600 JPEG in, alpha PNG out, callers in closed loops. The CPU time of all the processes
of a service for each photo tells the same with less noise. Prints Markdown.
"""

import argparse
import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import grpc
import psutil
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_load.sending.payloads import make_jpeg
from privacy_proof.service import Service, started_service

SIDE_PX = 1600


async def answer(service: Service, photos: list[bytes], callers: int) -> float:
    """Have all the photos answered, and return the seconds that it took."""
    waiting: Iterator[bytes] = iter(photos)
    async with service.channel() as channel:
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types

        async def caller() -> None:
            for photo in waiting:
                request = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=photo))
                promises = (
                    ("x-matting-request-bytes", str(request.ByteSize())),
                    ("x-matting-pixels", str(SIDE_PX**2)),
                )
                while True:
                    try:
                        await stub.RemoveBackground(request, timeout=60, metadata=promises)
                        break
                    except grpc.aio.AioRpcError as exc:
                        # A machine that is busy otherwise can make a batch look hung; any client tries again.
                        if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise

        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return loop.time() - began_s


def cpu_s(service: Service) -> Counter[str]:
    """Return the CPU time of the service's processes so far, by what they are."""
    used: Counter[str] = Counter()
    for pid in service.pids():
        process = psutil.Process(pid)
        name = "gateway" if pid == service.pid else process.name()
        times = process.cpu_times()
        used[name] += times.user + times.system  # type: ignore[assignment]  # counts may be of any number
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="u2net-int8")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--photos", type=int, default=30, help="of each run")
    parser.add_argument("serve", nargs="*", help="options for both gateways, after --")
    given = parser.parse_args()
    options = ("--default-model", given.model, *given.serve)
    photos = [make_jpeg(SIDE_PX, SIDE_PX, seed=number % 8) for number in range(given.photos)]
    with started_service(*options) as on, started_service("--no-scrub-memory", *options) as off:
        services = {"on": on, "off": off}
        ratios, elapsed = [], {"on": 0.0, "off": 0.0}
        spent: dict[str, Counter[str]] = {"on": Counter(), "off": Counter()}
        for pair in range(given.pairs + 1):
            took = {}
            for name in ("on", "off") if pair % 2 else ("off", "on"):
                asyncio.run(answer(services[name], photos[: 2 * given.callers], given.callers))
                before = cpu_s(services[name])
                took[name] = asyncio.run(answer(services[name], photos, given.callers))
                if pair:  # the first is for the gateways to learn the model's latency
                    spent[name] += cpu_s(services[name]) - before
                    elapsed[name] += took[name]
            if pair:
                ratios.append(took["off"] / took["on"])
    count = given.pairs * given.photos
    write = sys.stdout.write
    write(f"{given.model}, {given.callers} callers, {given.pairs} pairs of runs of {given.photos} photos\n\n")
    write("| | overwriting | not overwriting |\n|---|---|---|\n")
    write(f"| photos/s | {count / elapsed['on']:.2f} | {count / elapsed['off']:.2f} |\n")
    for name in sorted(spent["off"] | spent["on"]):
        write(f"| CPU ms a photo, {name} | {1000 * spent['on'][name] / count:.1f} |")
        write(f" {1000 * spent['off'][name] / count:.1f} |\n")
    total = {name: sum(used.values()) for name, used in spent.items()}
    write(f"| CPU ms a photo, all | {1000 * total['on'] / count:.1f} | {1000 * total['off'] / count:.1f} |\n")
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5
    write(f"\nthroughput ratio: median {statistics.median(ratios):.3f},")
    write(f" mean {statistics.mean(ratios):.3f} +- {spread:.3f}; CPU ratio {total['on'] / total['off']:.3f}\n")


if __name__ == "__main__":
    main()
