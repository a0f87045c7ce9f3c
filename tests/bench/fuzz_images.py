# SPDX-License-Identifier: Apache-2.0
"""Mutated image files by the million: no crash, no hang over a second, no error without a reason.

Run: python tests/bench/fuzz_images.py [--count N] [--seconds S] [--seed N]. Files that break the rule are kept in
tests/corpus/images/ (named by what went wrong), where the test suite tries them again. Exit code 1 if there were any.
"""

import argparse
import hashlib
import pathlib
import sys
import time

from rich.progress import track
from testkit.image_fuzzing import Fuzzer
from testkit.image_seeds import seeds

CORPUS = pathlib.Path(__file__).parents[1] / "corpus" / "images"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    fuzzer = Fuzzer(dict(seeds()), arguments.seed)
    end_s = time.monotonic() + arguments.seconds
    try:
        for _ in track(range(arguments.count), "files"):
            if time.monotonic() >= end_s:
                break
            fuzzer.step()
    finally:
        fuzzer.close()
    outcome = fuzzer.outcome
    for why, content in outcome.bad:
        CORPUS.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(content).hexdigest()[:16]
        (CORPUS / f"{name}.bin").write_bytes(content)
        print(f"{name}: {why}")
    print(
        f"seed {arguments.seed}: {outcome.count:,} files, {outcome.decoded:,} decoded, "
        f"refused {dict(outcome.refused)}, "
        f"corpus {outcome.corpus:,}, slowest {outcome.slowest_s:.3f} s, "
        f"stalled once {outcome.stalled}, bad {len(outcome.bad)}"
    )
    return 1 if outcome.bad else 0


if __name__ == "__main__":
    sys.exit(main())
