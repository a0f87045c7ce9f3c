# SPDX-License-Identifier: Apache-2.0
"""How many photos one event loop can take: `python tests/bench/loop_limit.py [--callers 128] [--seconds 10]`.

The imaging workers sleep (`sleeping_workers.py`) and the model does nothing, so that what a gateway of many cores and a
GPU would wait for takes no processor time here: 1600x1600 JPEG in, 60 KB out, callers in a closed loop. Prints
Markdown.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.end_to_end import machine
from bench.photo_cost import Tree, measure
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from testkit import program
from testkit.local_triton import CACHE_DIR, QUICK_START, copy_models
from testkit.program import running_service


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy_models(["nothing"], Path(folder))
        program.PROGRAM = Path(folder) / "gateway"
        asleep = Path(__file__).with_name("sleeping_workers.py")
        program.PROGRAM.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{asleep}" "$@"\n')
        program.PROGRAM.chmod(0o755)
        with LocalTriton(ensure_runtime(CACHE_DIR), Path(folder), extra_arguments=QUICK_START) as triton:
            arguments = ("--triton", triton.grpc_address, "--default-model", "nothing", "--imaging-workers", "64")
            async with running_service(*arguments, "--memory-budget-mib", "8192") as service:
                measured = Tree("asleep", service)
                for _ in range(given.rounds + 1):
                    await measure(measured, "nothing", given.callers, given.seconds)
    per_s, loop_ms = (statistics.median(figures[1:]) for figures in (measured.per_s, measured.ms["loop"]))
    print(f"{machine()}; {given.callers} callers\n\n| photos/s | loop, ms a photo | loop busy |\n|---|---|---|")
    print(f"| {per_s:.0f} | {loop_ms:.2f} | {per_s * loop_ms / 1e3:.0%} |")


if __name__ == "__main__":
    asyncio.run(main())
