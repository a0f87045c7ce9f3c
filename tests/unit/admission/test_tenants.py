# SPDX-License-Identifier: Apache-2.0
import hashlib
from pathlib import Path

import pytest
from matting_gateway.admission.tenants import ANONYMOUS, Tenant, Tenants, tenants_from_file
from matting_gateway.errors import (
    CredentialsInvalidError,
    CredentialsMissingError,
    PermissionDeniedError,
    QuotaExceededError,
)
from testkit.manual_clock import ManualClock


def tenant_table(name: str, token: str) -> str:
    return f"""
[[tenant]]
name = "{name}"
token_sha256 = ["{hashlib.sha256(token.encode()).hexdigest()}"]
certificate_names = ["{name}.internal"]
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    path.write_text(tenant_table("a", "token-a") + tenant_table("b", "token-b"))
    return path


@pytest.fixture
def tenants(path: Path, clock: ManualClock) -> Tenants:
    return Tenants(tenants_from_file(path, clock=clock), clock=clock)


def test_without_a_file_everybody_may_come_in(clock: ManualClock) -> None:
    tenants = Tenants(None, clock=clock)
    assert not tenants.closed
    assert tenants.identify("anything", ["anybody"]) is ANONYMOUS


def test_a_file_that_names_nobody_lets_nobody_in(path: Path, clock: ManualClock) -> None:
    path.write_text("")
    tenants = Tenants(tenants_from_file(path, clock=clock), clock=clock)
    assert tenants.closed
    with pytest.raises(CredentialsMissingError):
        tenants.identify(None, ())


def test_a_token_or_a_certificate_name_says_who_it_is(tenants: Tenants) -> None:
    assert tenants.identify("token-a", ()).name == "a"
    assert tenants.identify(None, ["b.internal"]).name == "b"


def test_a_token_decides_over_a_certificate(tenants: Tenants) -> None:
    assert tenants.identify("token-a", ["b.internal"]).name == "a"
    with pytest.raises(CredentialsInvalidError):
        tenants.identify("wrong", ["b.internal"])


@pytest.mark.parametrize("token", ["", "wrong", "token-a ", "x" * 513, "x" * 1_000_000, "\udc80"[:0] + "ä"])
def test_wrong_empty_and_very_long_tokens_are_nobodys(tenants: Tenants, token: str) -> None:
    with pytest.raises(CredentialsInvalidError):
        tenants.identify(token, ())


def test_a_certificate_of_nobody_is_invalid_and_nothing_at_all_is_missing(tenants: Tenants) -> None:
    with pytest.raises(CredentialsInvalidError):
        tenants.identify(None, ["stranger"])
    with pytest.raises(CredentialsMissingError):
        tenants.identify(None, ())


def test_a_removed_tenant_is_nobody_a_second_later(tenants: Tenants, path: Path, clock: ManualClock) -> None:
    tenants.identify("token-a", ())
    path.write_text(tenant_table("b", "token-b"))
    clock.advance(1)
    with pytest.raises(CredentialsInvalidError):
        tenants.identify("token-a", ())
    assert tenants.identify("token-b", ()).name == "b"


def test_a_model_that_is_not_allowed_is_refused(tenants: Tenants) -> None:
    tenant = Tenant("a", models=frozenset({"u2net"}))
    tenants.check_model(tenant, "u2net")
    with pytest.raises(PermissionDeniedError):
        tenants.check_model(tenant, "other")


def test_requests_a_second_are_counted(tenants: Tenants, clock: ManualClock) -> None:
    tenant = Tenant("a", requests_per_s=2.0)
    tenants.charge_request(tenant)
    tenants.charge_request(tenant)
    with pytest.raises(QuotaExceededError) as refused:
        tenants.charge_request(tenant)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    clock.advance(0.5)
    tenants.charge_request(tenant)


def test_megapixels_a_second_are_counted(tenants: Tenants, clock: ManualClock) -> None:
    tenant = Tenant("a", megapixels_per_s=20.0)
    tenants.charge_pixels(tenant, 12_000_000)
    with pytest.raises(QuotaExceededError) as refused:
        tenants.charge_pixels(tenant, 12_000_000)
    assert refused.value.retry_after_s == pytest.approx(0.2)
    clock.advance(0.2)
    tenants.charge_pixels(tenant, 12_000_000)


def test_a_photo_larger_than_the_allowance_is_not_refused_for_ever(tenants: Tenants, clock: ManualClock) -> None:
    tenant = Tenant("a", megapixels_per_s=1.0)
    tenants.charge_pixels(tenant, 50_000_000)
    with pytest.raises(QuotaExceededError) as refused:
        tenants.charge_pixels(tenant, 1_000_000)
    assert refused.value.retry_after_s == pytest.approx(35.0)


def test_one_tenants_use_is_not_anothers(tenants: Tenants) -> None:
    a, b = Tenant("a", requests_per_s=1.0), Tenant("b", requests_per_s=1.0)
    tenants.charge_request(a)
    tenants.charge_request(b)


def test_without_a_limit_nothing_is_counted(tenants: Tenants) -> None:
    for _ in range(1000):
        tenants.charge_request(ANONYMOUS)
        tenants.charge_pixels(ANONYMOUS, 10**9)
        tenants.hold_bytes(ANONYMOUS, 10**9).release()


def test_bytes_in_flight_are_held_and_given_back(tenants: Tenants) -> None:
    tenant = Tenant("a", bytes_in_flight=100)
    first = tenants.hold_bytes(tenant, 60)
    with pytest.raises(QuotaExceededError):
        tenants.hold_bytes(tenant, 60)
    first.shrink(40)
    with tenants.hold_bytes(tenant, 60):
        assert tenants.statistics().bytes_in_flight == {"a": 100}
    first.release()
    first.release()
    assert tenants.statistics().bytes_in_flight == {}


def test_a_call_larger_than_the_allowance_passes_alone(tenants: Tenants) -> None:
    tenant = Tenant("a", bytes_in_flight=100)
    held = tenants.hold_bytes(tenant, 500)
    with pytest.raises(QuotaExceededError):
        tenants.hold_bytes(tenant, 1)
    held.release()


def test_accounts_outlive_a_reload(tenants: Tenants, path: Path, clock: ManualClock) -> None:
    holding = tenants.hold_bytes(tenants.identify("token-a", ()), 7)
    path.write_text(path.read_text() + "# changed\n")
    clock.advance(1)
    tenants.identify("token-a", ())
    assert tenants.statistics().bytes_in_flight == {"a": 7}
    holding.release()


def test_what_it_shows_of_itself_are_counts(tenants: Tenants) -> None:
    assert repr(tenants) == "<Tenants closed, 0 bytes in flight>"
    assert tenants.statistics().tenant_count == 2


def test_a_share_is_looked_up_by_name_and_one_for_anybody_else(path: Path, clock: ManualClock) -> None:
    path.write_text(tenant_table("a", "token-a") + "share = 2.5\n")
    tenants = Tenants(tenants_from_file(path, clock=clock), clock=clock)
    assert [tenants.share_of(name) for name in ("a", "b", "")] == [2.5, 1.0, 1.0]
    assert Tenants(None, clock=clock).share_of("") == 1.0
