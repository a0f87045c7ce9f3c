# SPDX-License-Identifier: Apache-2.0
"""Memory under overload: 200 callers send 12-megapixel photos for a minute, far beyond what can be done.

The gateway and its decoder processes together (Triton and its children aside) must stay under
their idle size, the configured budget and 150 MB. Prints Markdown.
`python tests/bench/memory_bound.py [--seconds 60] [--output alpha|cutout]`.
"""

import argparse
import asyncio
import contextlib
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matting_load as load
import psutil
from testkit.local_triton import TEST_MODELS
from testkit.program import running_service

ALLOWANCE_BYTES = 150e6


def gateway_bytes(pid: int) -> int:
    """Return the proportional set size of the gateway and its decoders; what belongs to its Triton is left out."""
    total = 0
    todo = [psutil.Process(pid)]
    while todo:
        process = todo.pop()
        with contextlib.suppress(psutil.Error):
            if "matting_triton" in " ".join(process.cmdline()) and process.pid != pid:
                continue
            total += process.memory_full_info().pss
            todo += process.children()
    return total


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--budget-mib", type=int, default=1024)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--output", choices=("alpha", "cutout"), default="cutout")
    options = parser.parse_args()
    arguments = ("--repository", str(TEST_MODELS), "--default-model", "nothing")
    async with running_service(*arguments, "--memory-budget-mib", str(options.budget_mib)) as service:
        pid = service.process.pid
        plan = load.Plan(
            load.GatewayTarget(service.address, output=options.output),
            load.ClosedLoop(2, 3.0),
            photos=load.Photos(sizes=(load.PhotoSize(640, 480),)),
        )
        await load.run_async(plan)  # everything is loaded once
        await asyncio.sleep(2)
        idle, peak, done = gateway_bytes(pid), 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.2):
                peak = max(peak, gateway_bytes(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        plan = load.Plan(
            load.GatewayTarget(service.address, output=options.output),
            load.ClosedLoop(options.callers, options.seconds),
            deadlines=(load.DeadlineClass(5.0),),
            photos=load.Photos(sizes=(load.PhotoSize(4000, 3000),)),
        )
        report = await load.run_async(plan)
        done.set()
        watcher.join()
        left = await service.metric("matting_resident_bytes")
    bound = idle + options.budget_mib * (1 << 20) + ALLOWANCE_BYTES
    kept = peak <= bound
    print(f"\n{options.callers} callers, 4000x3000 JPEG in, {options.output} PNG out, {options.seconds:g} s:\n")
    print("| idle | budget | peak | bound | kept | answered/s | still held afterwards |")
    print("|---|---|---|---|---|---|---|")
    cells = (idle / 1e6, options.budget_mib * 1.048576, peak / 1e6, bound / 1e6)
    verdict = f"{'yes' if kept else 'NO'} | {report.total.throughput_per_s:.1f} | {left:.0f}"
    print(f"| {' | '.join(f'{c:.0f} MB' for c in cells)} | {verdict} |")
    print(f"\n{', '.join(f'{o.name}: {o.count}' for o in report.total.outcomes)}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
