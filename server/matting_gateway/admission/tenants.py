# SPDX-License-Identifier: Apache-2.0
"""Who calls, and what is left of their allowance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from matting_gateway.admission.tenant_file import ANONYMOUS, Tenant, TenantDirectory, tenants_from_file
from matting_gateway.clock import Clock
from matting_gateway.errors import (
    CredentialsInvalidError,
    CredentialsMissingError,
    PermissionDeniedError,
    QuotaExceededError,
)
from matting_gateway.reloading.watched_files import WatchedFiles
from matting_gateway.token_bucket import BucketLevel, Rate, full, take

__all__ = ["ANONYMOUS", "Tenant", "TenantByteHold", "Tenants", "TenantsStatistics", "tenants_from_file"]

# A second's worth may be saved up, but never less than one request or one large photo.
_MIN_REQUEST_BURST = 1.0
_MIN_MEGAPIXEL_BURST = 16.0
# No tenant has longer ones: they are refused without being hashed.
MAX_TOKEN_LENGTH = 512
_BYTES_RETRY_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class TenantsStatistics:
    """Tenants known, tables of the file left out, and bytes in flight by tenant."""

    tenant_count: int
    left_out_count: int
    bytes_in_flight: dict[str, int]


class TenantByteHold:
    """A tenant's bytes in flight for one call. Only ever shrinks; releasing twice is harmless."""

    __slots__ = ("_bytes_by_name", "_name", "byte_count")

    def __init__(self, bytes_by_name: Counter[str], name: str, byte_count: int) -> None:
        self._bytes_by_name = bytes_by_name
        self._name = name
        self.byte_count = byte_count
        bytes_by_name[name] += byte_count

    def shrink(self, byte_count: int) -> None:
        """Give back what is over `byte_count`; asking for more than is held changes nothing."""
        excess = self.byte_count - byte_count
        if excess <= 0:
            return
        self.byte_count = byte_count
        left = self._bytes_by_name[self._name] - excess
        if left:
            self._bytes_by_name[self._name] = left
        else:
            del self._bytes_by_name[self._name]

    def release(self) -> None:
        self.shrink(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<TenantByteHold {self.byte_count} bytes of {self._name!r}>"


class Tenants:
    """Identifies callers and keeps their accounts.

    Owns the buckets and the bytes in flight of each tenant, by name, so that they outlive a
    reload of the file; touched on the event loop only. Invariants: bytes in flight are the sum of
    the holdings not released; a call that is refused costs its tenant nothing.
    """

    def __init__(self, file: WatchedFiles[TenantDirectory] | None, *, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._buckets: dict[tuple[str, Rate], BucketLevel] = {}
        self._bytes_by_name: Counter[str] = Counter()

    @property
    def closed(self) -> bool:
        """Whether callers must say who they are. True even if the file names nobody."""
        return self._file is not None

    def identify(self, token: str | None, certificate_names: Sequence[str]) -> Tenant:
        """Return whose the credentials are. A token, where there is one, decides.

        Raises:
            CredentialsMissingError: There are none, and they are needed.
            CredentialsInvalidError: They are nobody's.
        """
        if self._file is None:
            return ANONYMOUS
        directory = self._file.value()
        if token is not None:
            tenant = directory.by_token(token) if 0 < len(token) <= MAX_TOKEN_LENGTH else None
            if tenant is None:
                raise CredentialsInvalidError("The bearer token is nobody's. Ask the operator for a valid one.")
            return tenant
        tenant = directory.by_certificate_names(certificate_names)
        if tenant is not None:
            return tenant
        if certificate_names:
            raise CredentialsInvalidError(
                "The client certificate names no tenant of this server. Ask the operator to add its name."
            )
        raise CredentialsMissingError("Say who calls: metadata `authorization: Bearer <token>`, or a certificate.")

    def share_of(self, name: str) -> float:
        """Return the weight of a tenant under overload, 1 for one that is not (or no longer) known."""
        tenant = None if self._file is None else self._file.value().by_name(name)
        return 1.0 if tenant is None else tenant.share

    def check_model(self, tenant: Tenant, model: str) -> None:
        """Check that a tenant may use a model.

        Raises:
            PermissionDeniedError: It may not.
        """
        if not tenant.may_use(model):
            raise PermissionDeniedError("This tenant may not use that model. ListModels shows the ones it may.")

    def charge_request(self, tenant: Tenant) -> None:
        """Count one request (one item of a stream).

        Raises:
            QuotaExceededError: The tenant's requests per second are used up.
        """
        per_s = tenant.requests_per_s
        if per_s is not None:
            self._charge(tenant.name, Rate(per_s, max(_MIN_REQUEST_BURST, per_s)), 1.0, f"{per_s:g} requests")

    def charge_pixels(self, tenant: Tenant, pixel_count: int) -> None:
        """Count a photo's pixels.

        Raises:
            QuotaExceededError: The tenant's megapixels per second are used up.
        """
        per_s = tenant.megapixels_per_s
        if per_s is not None:
            rate = Rate(per_s, max(_MIN_MEGAPIXEL_BURST, per_s))
            self._charge(tenant.name, rate, pixel_count / 1e6, f"{per_s:g} megapixels")

    def hold_bytes(self, tenant: Tenant, byte_count: int) -> TenantByteHold:
        """Take bytes in flight. More than the whole allowance is let through when nothing else is held.

        Raises:
            QuotaExceededError: The tenant holds too many already.
        """
        limit = tenant.bytes_in_flight
        held = self._bytes_by_name.get(tenant.name, 0)
        if limit is not None and held and held + byte_count > limit:
            raise QuotaExceededError(
                f"This tenant may have {limit} bytes in flight, and its open calls hold too many; wait for answers.",
                retry_after_s=_BYTES_RETRY_AFTER_S,
            )
        return TenantByteHold(self._bytes_by_name, tenant.name, byte_count)

    def statistics(self) -> TenantsStatistics:
        directory = None if self._file is None else self._file.value()
        counts = (0, 0) if directory is None else (len(directory.names), len(directory.problems))
        return TenantsStatistics(*counts, dict(self._bytes_by_name))

    def __repr__(self) -> str:
        return f"<Tenants {'closed' if self.closed else 'open'}, {sum(self._bytes_by_name.values())} bytes in flight>"

    def _charge(self, name: str, rate: Rate, amount: float, allowance: str) -> None:
        now_s = self._clock.now()
        key = (name, rate)
        bucket, wait_s = take(rate, self._buckets.get(key) or full(rate, now_s), now_s, amount)
        if wait_s > 0:
            raise QuotaExceededError(f"This tenant's {allowance} per second are used up.", retry_after_s=wait_s)
        self._buckets[key] = bucket
