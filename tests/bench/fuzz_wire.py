# SPDX-License-Identifier: Apache-2.0
"""Valid frames, hostile messages and timing against the real program, and an honest caller beside them.

Run: python tests/bench/fuzz_wire.py [--frames N] [--seconds S] [--seed N]. Watches the honest caller's 99th percentile,
resident memory, and that everything is given back 2 s after the attacker has gone. Exit code 1 where something is not.
"""

import argparse
import asyncio
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from testkit.wire_siege import besiege

HEALTH_P99_S = 0.1
GROWN_BYTES = 96 << 20
KEPT_BYTES = 16 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after so long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    siege = asyncio.run(besiege(seed=given.seed, most_frames=given.frames, seconds=given.seconds))
    print(f"seed {given.seed}: {siege}")
    problems = siege.problems(health_p99_s=HEALTH_P99_S, grown_bytes=GROWN_BYTES, kept_bytes=KEPT_BYTES)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
