# SPDX-License-Identifier: Apache-2.0
"""Photos end to end beside what the machine's cores can give: `python tests/bench/two_cores.py`.

What they can give: the engine alone takes so much of them for an image (perf_analyzer calls Triton directly, batches
through shared memory, the best of some batch sizes), and imaging alone so much for a photo (the imaging room by
itself). A gateway that cost nothing would serve as many photos a second as fit into the cores at that. Engine and
gateway are measured in turn, so that whatever else the machine does falls on both.
"""

import argparse
import asyncio
import io
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import matting_load as load
from bench.end_to_end import machine, remove, repository
from bench.imaging_throughput import MODEL, cpu_seconds
from matting_gateway.clock import SystemClock
from matting_gateway.domain.photo import EncodedPhoto, OutputSpec
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.settings import ImagingSettings
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from PIL import Image
from testkit.local_triton import CACHE_DIR
from testkit.perf_analyzer import PerfAnalyzer, ensure_perf_analyzer
from testkit.photos import ellipse, sample_photo
from testkit.program import running_service

SIDE_PX = 1600
ENGINE_LOADS = ((4, 1), (4, 2), (8, 2))  # rows in a batch, batches in flight
WINDOW_BATCHES = 8
ALPHA_BYTES = MODEL.width_px * MODEL.height_px


async def imaging_core_s(count: int = 100) -> float:
    """Return the processor time that one photo's imaging takes: JPEG in, alpha PNG out."""
    room = ImagingService(ImagingSettings(), clock=SystemClock())
    await room.start()
    buffer = io.BytesIO()
    Image.fromarray(sample_photo(SIDE_PX, SIDE_PX)).save(buffer, "JPEG", quality=90)
    photo, output = EncodedPhoto(buffer.getvalue()), OutputSpec()
    alpha = ellipse(MODEL.width_px, MODEL.height_px, 0.46).tobytes()
    try:
        for warm in (False, True):
            before_s = cpu_seconds()
            for _ in range(count if warm else count // 10):
                header = room.inspect(photo, (output,))
                with await room.prepare(photo, header, MODEL, (output,)) as prepared:
                    await room.render(prepared, alpha)
        return (cpu_seconds() - before_s) / count
    finally:
        await room.close()


async def engine_per_s(
    analyzer: PerfAnalyzer,
    address: str,
    model: str,
    loads: Sequence[tuple[int, int]] = ENGINE_LOADS,
    window_batches: int = WINDOW_BATCHES,
) -> float:
    """Return the most images a second that Triton gives when it is called directly."""
    rates = []
    for rows, in_flight in loads:
        report = await analyzer.run(
            address,
            model,
            in_flight,
            *("-b", str(rows), "--shared-memory", "system"),
            *("--output-shared-memory-size", str(rows * ALPHA_BYTES)),
            # By number and not by time: a batch of a slow model takes longer than a window.
            *("--measurement-mode", "count_windows", "--measurement-request-count", str(window_batches)),
        )
        rates.append(report.per_s)
    return max(rates)


async def gateway_per_s(address: str, model: str, callers: int, seconds: float) -> float:
    plan = load.Plan(
        load.GatewayTarget(address, model=model),
        load.ClosedLoop(callers, seconds + 5),
        photos=load.Photos(sizes=(load.PhotoSize(SIDE_PX, SIDE_PX),)),
        warmup_s=5,
        drain_s=120,
    )
    return (await load.run_async(plan)).total.throughput_per_s


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["u2net-f32", "u2net", "u2net-int8"])
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=25)
    given = parser.parse_args()
    analyzer = ensure_perf_analyzer(CACHE_DIR)
    cores = os.cpu_count() or 1
    imaging_s = await imaging_core_s()
    print(f"{machine()}; imaging alone {1e3 * imaging_s:.1f} ms of a core for a photo\n")
    print("| model | engine alone, images/s | the cores can give, photos/s | gateway, photos/s | ratio |")
    print("|---|---|---|---|---|")
    folder = repository()
    try:
        with LocalTriton(ensure_runtime(CACHE_DIR), folder) as triton:
            arguments = ("--triton", triton.grpc_address, "--default-model", given.models[0])
            async with running_service(*arguments) as service:
                for model in given.models:
                    rows = []
                    for _ in range(given.rounds):
                        engine = await engine_per_s(analyzer, triton.grpc_address, model)
                        through = await gateway_per_s(service.address, model, given.callers, given.seconds)
                        most = cores / (cores / engine + imaging_s)
                        rows.append((engine, most, through, through / most))
                    engine, most, through, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
                    print(f"| {model} | {engine:.2f} | {most:.2f} | {through:.2f} | {ratio:.3f} |", flush=True)
    finally:
        remove(folder)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
