# SPDX-License-Identifier: Apache-2.0
"""Memory over many photos: a tenth of `make soak`."""

import statistics

import pytest
from matting_triton.local import LocalTriton
from testkit.photo_soak import shared_memory_given_up, soak
from testkit.program import running_service

pytestmark = pytest.mark.triton

COUNT, PARTS = 20_000, 10
ALLOWED_BYTES = 2_000_000


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
