# SPDX-License-Identifier: Apache-2.0
"""Two hundred thousand small photos through the gateway: its memory must stay flat.

Do-nothing model; every result kind, and bad photos among them. The resident memory of the gateway
and its decoders after all of it may be at most 2 MB more than after the first tenth, and what it
shares with the backend must be given up in the end.
`python tests/bench/soak_photos.py [--count 200000]`.
"""

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from testkit.local_triton import TEST_MODELS
from testkit.photo_soak import shared_memory_given_up, soak
from testkit.program import running_service

ALLOWED_BYTES = 2_000_000
PARTS = 10


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    count = parser.parse_args().count
    sizes = []
    async with running_service("--repository", str(TEST_MODELS), "--default-model", "nothing") as service:
        async for reading in soak(service, count, PARTS):
            sizes.append(reading.resident_bytes)
            print(f"{reading.sent} photos, {reading.answered} answered: {sizes[-1] / 1e6:.1f} MB", flush=True)
        await shared_memory_given_up(service)
        left = await service.metric("matting_resident_bytes")
    growth = sizes[-1] - sizes[0]
    print(f"grown by {growth / 1e6:.2f} MB after the first tenth; {left:.0f} bytes still held")
    return 0 if growth <= ALLOWED_BYTES and left == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
