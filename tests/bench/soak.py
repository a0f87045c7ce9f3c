# SPDX-License-Identifier: Apache-2.0
"""Saturate the tensor door and watch memory: `python tests/bench/soak.py [--seconds 600]`.

Resident memory must be flat after the first fifth, and no shared-memory segment may be left, also
after the gateway and Triton are killed.
"""

import argparse
import asyncio
import itertools
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from testkit.local_triton import CACHE_DIR, TEST_MODELS, segments
from testkit.perf_analyzer import ensure_perf_analyzer
from testkit.program import running_service

CALLERS = 16
# What the allocator may still gather after the warm-up.
SLACK_BYTES = 48 << 20


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    analyzer = ensure_perf_analyzer(CACHE_DIR)
    resident: list[int] = []
    with LocalTriton(ensure_runtime(CACHE_DIR), TEST_MODELS) as triton:
        async with running_service("--triton", triton.grpc_address, "--default-model", "nothing") as service:
            process = psutil.Process(service.process.pid)
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                report = await analyzer.run(service.address, "nothing", CALLERS)
                resident.append(process.memory_info().rss)
                print(f"{report.per_s:6.0f}/s  resident {resident[-1] >> 20} MiB", flush=True)
        left = {"stop": segments("matting-")}
        async with running_service("--triton", triton.grpc_address, "--default-model", "nothing") as service:
            await analyzer.run(service.address, "nothing", CALLERS)
            os.kill(service.process.pid, signal.SIGKILL)
            await service.process.wait()
            left["kill of the gateway"] = segments("matting-")
        async with running_service("--triton", triton.grpc_address, "--default-model", "nothing") as service:
            await analyzer.run(service.address, "nothing", CALLERS)
            os.kill(triton.pid or 0, signal.SIGKILL)
            await asyncio.to_thread(triton.stop)
            left["kill of Triton"] = [*segments("matting-"), *segments("matting_triton_")]
    warm = list(itertools.islice(resident, len(resident) // 5, None)) or resident
    growth = warm[-1] - warm[0]
    print(f"growth after the warm-up: {growth / (1 << 20):.1f} MiB over {len(warm)} runs; left behind: {left}")
    return int(growth > SLACK_BYTES or any(left.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
