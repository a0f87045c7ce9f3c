# SPDX-License-Identifier: Apache-2.0
"""What is left of many photos: after some hundreds nothing that is counted in pieces, after many no memory."""

import os
import statistics
from collections import Counter
from pathlib import Path

import psutil
import pytest
from matting_triton.local import LocalTriton
from testkit.long_runs import only_in_long_runs, short_or_long
from testkit.photo_soak import shared_memory_given_up, soak
from testkit.program import running_service

pytestmark = pytest.mark.triton

COUNT, PARTS = 20_000, 10
ALLOWED_BYTES = 2_000_000


def held(pid: int) -> Counter[str]:
    """Return what a program and its processes have open or mapped that a photo could be in, and how many of each."""
    found = Counter[str]()
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        folder = Path(f"/proc/{process.pid}")
        targets = [os.readlink(path) for path in (folder / "fd").iterdir()]
        mapped = [line.split(maxsplit=5)[5] for line in (folder / "maps").read_text().splitlines() if "/" in line]
        for name in (*targets, *(line for line in mapped if line.startswith(("/memfd", "/dev/shm")))):
            found[f"{process.name()}: {name.partition(':[')[0]}"] += 1
    return found


async def test_after_hundreds_of_photos_nothing_more_is_open_or_mapped_than_after_the_first(
    triton_server: LocalTriton,
) -> None:
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    async with running_service(*arguments) as service:
        seen = []
        async for _ in soak(service, 2 * short_or_long(165, 330), 2):
            await shared_memory_given_up(service)
            seen.append(held(service.process.pid))
        assert seen[1] == seen[0]
        assert not [name for name in seen[1] if "memfd" in name or "/dev/shm" in name]


@only_in_long_runs
async def test_memory_stays_flat_over_twenty_thousand_photos(triton_server: LocalTriton) -> None:
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    async with running_service(*arguments) as service:
        readings = [reading async for reading in soak(service, COUNT, PARTS)]
        await shared_memory_given_up(service)
    assert readings[-1].answered > 0.9 * COUNT
    sizes = [reading.resident_bytes for reading in readings]
    # Medians, as a single reading may meet pages that are just about to go back. The first two parts warm up.
    growth = statistics.median(sizes[-3:]) - statistics.median(sizes[2:5])
    assert growth <= ALLOWED_BYTES, [round(size / 1e6, 1) for size in sizes]
