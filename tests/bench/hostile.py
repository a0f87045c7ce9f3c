# SPDX-License-Identifier: Apache-2.0
"""Honest callers while somebody means no good: `python tests/bench/hostile.py` prints Markdown.

Each attack of `testkit.hostile` goes on for some seconds, with one niced sender whose bytes are made beforehand,
against a gateway on a loopback address, before a model that does nothing. The figures are medians of three runs.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from privacy_proof.service import Service, started_service
from testkit.honest import Seen, look
from testkit.hostile import ATTACKS, attacked
from testkit.local_triton import TEST_MODELS
from testkit.tenants import table

_QUIET_S = 5.0
COUNTS = {
    "infer_bomb": 512,
    "photo_bomb": 64,
    "claims": 4096,
    "filled": 4096,
    "unread": 24,
    "zipped": 256,
    "slow": 1000,
    "stalled": 1000,
    "stalled_large": 1000,
}


async def run(service: Service, name: str, count: int, seconds: float, token: str) -> list[float]:
    """Return the cells of a row: milliseconds, photos refused, mebibytes more than before."""
    process = psutil.Process(service.pid)
    alone = await look(service.address, service.pid, seconds=seconds / 2, token=token)
    before = process.memory_info().rss
    async with attacked(name, service.address, count=count, seconds=4 * seconds):
        seen: Seen = await look(service.address, service.pid, seconds=seconds, token=token)
    await asyncio.sleep(_QUIET_S)
    if seen.refused:
        sys.stderr.write(f"{name}: {dict(seen.refused)}\n")
    return [
        1e3 * seen.check_p99_s,
        1e3 * max(seen.checks_s),
        1e3 * alone.photo_s,
        1e3 * seen.photo_s,
        float(seen.refused.total()),
        (seen.resident_bytes - before) / 2**20,
        (process.memory_info().rss - before) / 2**20,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ATTACKS), help=f"of {', '.join(ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    sys.stdout.write(
        "| attack | tenants | health p99 ms | worst | photo alone ms | attacked | refused | MiB more | 5 s after |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tenants.toml"
        file.write_text(table("shop"))
        for tenants in (False, True):
            arguments = ["--repository", str(TEST_MODELS), "--default-model", "nothing"]
            arguments += ["--tenants", str(file)] if tenants else []
            with started_service(*arguments) as service:
                for name in given.names:
                    token = "token-shop" if tenants else ""
                    found = [
                        asyncio.run(run(service, name, COUNTS[name], given.seconds, token)) for _ in range(given.runs)
                    ]
                    cells = [f"{statistics.median(column):.0f}" for column in zip(*found, strict=True)]
                    sys.stdout.write(f"| {name} | {'yes' if tenants else 'no'} | {' | '.join(cells)} |\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
