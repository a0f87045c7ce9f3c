# SPDX-License-Identifier: Apache-2.0
"""Throughput and latency through the tensor door beside Triton called directly: `python tests/bench/tensor_door.py`.

Runs of both are interleaved, so that whatever else the machine does falls on both. Ratios are medians of pairs.
"""

import argparse
import asyncio
import functools
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from testkit.local_triton import CACHE_DIR, TEST_MODELS
from testkit.perf_analyzer import Report, ensure_perf_analyzer, tree
from testkit.program import running_service

MODES: dict[str, tuple[str, ...]] = {
    "sync": (),
    "async": ("--async",),
    "streaming": ("--async", "--streaming"),
    "shared memory": ("--shared-memory", "system", "--output-shared-memory-size", "102400"),
}


async def main() -> int:
    arguments = _arguments()
    analyzer = ensure_perf_analyzer(CACHE_DIR)
    repository = Path(arguments.repository)
    with LocalTriton(ensure_runtime(CACHE_DIR), repository) as triton:
        async with running_service(
            "--triton", triton.grpc_address, "--default-model", arguments.model, "--client-shared-memory"
        ) as service:
            print("| mode | callers | Triton/s | gateway/s | ratio | p50 more, us | batch | CPU us: gateway, Triton |")
            print("|---|---|---|---|---|---|---|---|")
            for mode in arguments.modes:
                for callers in arguments.callers:
                    watched = {"gateway": tree(service.process.pid), "triton": tree(triton.pid or 0)}
                    pairs = []
                    for _ in range(arguments.pairs):
                        run = functools.partial(analyzer.run, window_s=arguments.window_s)
                        direct = await run(triton.grpc_address, arguments.model, callers, *MODES[mode])
                        through = await run(service.address, arguments.model, callers, *MODES[mode], watched=watched)
                        pairs.append((direct, through))
                    print(_row(mode, callers, pairs), flush=True)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; pairs: {arguments.pairs}")
    return 0


def _row(mode: str, callers: int, pairs: list[tuple[Report, Report]]) -> str:
    def median(values: list[float]) -> float:
        return statistics.median(values)

    ratios = [through.per_s / direct.per_s for direct, through in pairs]
    batch = median([through.inference_count / max(1, through.execution_count) for _, through in pairs])
    cells = (
        mode,
        callers,
        f"{median([direct.per_s for direct, _ in pairs]):.0f}",
        f"{median([through.per_s for _, through in pairs]):.0f}",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{median([through.p50_us - direct.p50_us for direct, through in pairs]):.0f}",
        f"{batch:.1f}",
        ", ".join(f"{median([t.cpu_us[name] for _, t in pairs]):.0f}" for name in ("gateway", "triton")),
    )
    return f"| {' | '.join(map(str, cells))} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nothing")
    parser.add_argument("--repository", default=str(TEST_MODELS))
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=["sync"])
    parser.add_argument("--window-s", type=float, default=2.0, help="a slow model needs windows of many answers")
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
