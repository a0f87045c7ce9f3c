# SPDX-License-Identifier: Apache-2.0
"""Fuzz the reader of ModelInferRequests against protobuf's: `python tests/bench/fuzz_infer.py [COUNT]`."""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from testkit.infer_fuzz import fuzz

_CHUNK = 50_000


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = random.SystemRandom().randrange(2**32)
    started_s = time.monotonic()
    for done in range(0, count, _CHUNK):
        problem = fuzz(min(_CHUNK, count - done), seed + done)
        if problem is not None:
            print(f"seed {seed + done}: {problem}")
            return 1
    print(f"{count} messages, fast reader and protobuf agree, {time.monotonic() - started_s:.0f} s, seed {seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
