# SPDX-License-Identifier: Apache-2.0
"""Callers who mean no good, and what honest ones see of it: the program, a real Triton, a process that attacks.

Time is not judged here as it is by `tests/bench/hostile.py`, for other tests may run beside: what is asserted is that
nobody is shut out, and that memory stays within its bounds and is given back.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from matting_triton.local import LocalTriton
from privacy_proof.service import Service, started_service
from testkit.honest import look
from testkit.hostile import attacked
from testkit.long_runs import short_or_long
from testkit.tenants import table

pytestmark = pytest.mark.triton

GROWTH_BYTES = 96 << 20
COUNTS = {
    "infer_bomb": 128,
    "photo_bomb": 16,
    "claims": 4096,
    "filled": 2000,
    "unread": 24,
    "zipped": 64,
    "slow": 1000,
    "stalled": 800,
    "stalled_large": 1000,
}


@pytest.fixture(scope="module", params=["open", "tenants"])
def service(
    request: pytest.FixtureRequest, triton_server: LocalTriton, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    arguments = ["--triton", triton_server.grpc_address, "--default-model", "nothing"]
    if request.param == "tenants":
        file: Path = tmp_path_factory.mktemp("tenants") / "tenants.toml"
        file.write_text(table("shop"))
        arguments += ["--tenants", str(file)]
    with started_service(*arguments) as service:
        yield service


@pytest.mark.parametrize("name", COUNTS)
async def test_honest_callers_are_served_while_others_attack_and_memory_stays_bounded(
    service: Service, name: str
) -> None:
    before = await look(service.address, service.pid, seconds=0.5, token="token-shop")
    async with attacked(name, service.address, count=COUNTS[name]):
        seen = await look(service.address, service.pid, seconds=short_or_long(1, 3), token="token-shop")
    assert seen.photos_s
    assert not seen.refused
    assert max(seen.checks_s) < 3
    assert seen.resident_bytes - before.resident_bytes < GROWTH_BYTES
