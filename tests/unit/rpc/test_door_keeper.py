# SPDX-License-Identifier: Apache-2.0
"""Who shows tokens that are nobody's too often is refused unseen, with all of its network and nobody else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from matting_gateway.admission.failed_logins import FailedLogins
from matting_gateway.admission.tenants import Tenants, tenants_from_file
from matting_gateway.errors import CredentialsInvalidError, CredentialsMissingError, QuotaExceededError
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.serving.door_keeper import DoorKeeper
from testkit.manual_clock import ManualClock
from testkit.tenants import table

HEALTH = "/grpc.health.v1.Health/Check"
PHOTO = "/matting.v1.MattingService/RemoveBackground"


@pytest.fixture
def keeper(tmp_path: Path) -> DoorKeeper:
    clock, file = ManualClock(0.0), tmp_path / "tenants.toml"
    file.write_text(table("shop"))
    tenants = Tenants(tenants_from_file(file, clock=clock), clock=clock)
    return DoorKeeper(tenants, FailedLogins(clock=clock), close_reflection=False)


def call(token: str | None, method: str = PHOTO) -> Any:
    metadata = {} if token is None else {"authorization": f"Bearer {token}"}
    return cast("CallInfo", SimpleNamespace(method=method, metadata=metadata, tenant=None))


def peer(network: str | None) -> Any:
    return SimpleNamespace(network=network, auth_context=dict)


def guess(keeper: DoorKeeper, network: str | None, count: int) -> None:
    for number in range(count):
        with pytest.raises(CredentialsInvalidError):
            keeper.admit(call(f"guess-{number}"), peer(network))


def test_after_a_burst_of_guesses_a_network_is_refused_whatever_it_shows_and_others_are_not(
    keeper: DoorKeeper,
) -> None:
    guess(keeper, "192.0.2.0/24", 50)
    for token in ("guess", "token-shop"):
        with pytest.raises(QuotaExceededError) as refused:
            keeper.admit(call(token), peer("192.0.2.0/24"))
        assert refused.value.retry_after_s
    keeper.admit(call("token-shop"), peer("198.51.100.0/24"))
    keeper.admit(call(None, HEALTH), peer("192.0.2.0/24"))


def test_peers_that_stand_for_many_are_never_refused_unseen(keeper: DoorKeeper) -> None:
    guess(keeper, None, 200)
    keeper.admit(call("token-shop"), peer(None))


def test_to_show_nothing_is_no_guess(keeper: DoorKeeper) -> None:
    for _ in range(200):
        with pytest.raises(CredentialsMissingError):
            keeper.admit(call(None), peer("192.0.2.0/24"))
    keeper.admit(call("token-shop"), peer("192.0.2.0/24"))
