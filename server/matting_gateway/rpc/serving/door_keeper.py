# SPDX-License-Identifier: Apache-2.0
"""Who may call which service: health is open, everything else asks for credentials once tenants are configured."""

from grpc_h2.server.bare_call import BareCall

from matting_gateway.admission.failed_logins import FailedLogins
from matting_gateway.admission.tenants import Tenants
from matting_gateway.errors import CredentialsInvalidError, PermissionDeniedError
from matting_gateway.rpc.boundary.authenticate import authenticate
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.serving.server import HEALTH_SERVICE, REFLECTION_SERVICE

_HEALTH = f"/{HEALTH_SERVICE}/"
_REFLECTION = f"/{REFLECTION_SERVICE}/"


class DoorKeeper:
    """Sets a call's tenant, or refuses the call."""

    def __init__(self, tenants: Tenants, failed_logins: FailedLogins, *, close_reflection: bool) -> None:
        self._tenants = tenants
        self._failed_logins = failed_logins
        self._close_reflection = close_reflection

    @staticmethod
    def always_open(method: str) -> bool:
        """Whether a method answers while the gateway starts and drains."""
        return method.startswith((_HEALTH, _REFLECTION))

    def admit(self, call: CallInfo, context: BareCall) -> None:
        """Say who calls.

        Raises:
            CredentialsMissingError, CredentialsInvalidError: Who calls is not known.
            QuotaExceededError: Too many of the peer's network were not; nothing is looked at then.
            PermissionDeniedError: Known, but no operator, and the service is closed to others.
        """
        if not self._tenants.closed or call.method.startswith(_HEALTH):
            return
        self._failed_logins.check(context.network)
        try:
            call.tenant = authenticate(self._tenants, call.metadata.items(), context.auth_context())
        except CredentialsInvalidError:
            self._failed_logins.failed(context.network)
            raise
        if self._close_reflection and call.method.startswith(_REFLECTION) and not call.tenant.operator:
            raise PermissionDeniedError("Server reflection is for operators only on this gateway.")
