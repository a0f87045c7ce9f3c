# SPDX-License-Identifier: Apache-2.0
"""What overwriting memory costs: photos a second with it and without it, `python tests/bench/scrub_cost.py`.

Two gateways, each with a Triton of its own, are up at once and are measured in turn, in pairs of
short runs whose order changes, so that what else the machine does hits both alike. 1600x1600 JPEG
in, alpha PNG out, callers in closed loops. Prints Markdown.
"""

import argparse
import asyncio
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matting_load as load
from privacy_proof.service import Service, started_service


async def measure(service: Service, given: argparse.Namespace, seed: int) -> float:
    """Return the photos answered a second."""
    plan = load.Plan(
        load.GatewayTarget(service.address, model=given.model),
        load.ClosedLoop(given.callers, given.seconds + given.warmup),
        photos=load.Photos(sizes=(load.PhotoSize(1600, 1600),)),
        warmup_s=given.warmup,
        drain_s=60,
        seed=seed,
    )
    return float((await load.run_async(plan)).total.throughput_per_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="u2net-int8")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--warmup", type=float, default=3)
    parser.add_argument("serve", nargs="*", help="options for both gateways, after --")
    given = parser.parse_args()
    options = ("--default-model", given.model, *given.serve)
    with started_service(*options) as scrubbed, started_service("--no-scrub-memory", *options) as plain:
        for service in (scrubbed, plain):
            asyncio.run(measure(service, given, 0))
        ratios = []
        sys.stdout.write("| pair | overwriting, photos/s | not overwriting | ratio |\n|---|---|---|---|\n")
        for pair in range(given.pairs):
            order = ("on", "off") if pair % 2 else ("off", "on")
            services = {"on": scrubbed, "off": plain}
            rates = {name: asyncio.run(measure(services[name], given, pair)) for name in order}
            ratios.append(rates["on"] / rates["off"])
            sys.stdout.write(f"| {pair} | {rates['on']:.2f} | {rates['off']:.2f} | {ratios[-1]:.3f} |\n")
            sys.stdout.flush()
    sys.stdout.write(f"\nmedian ratio {statistics.median(ratios):.3f}, mean {statistics.mean(ratios):.3f}\n")


if __name__ == "__main__":
    main()
