# SPDX-License-Identifier: Apache-2.0
"""From a call's metadata and its connection's certificate to the tenant that calls."""

from collections.abc import Iterable, Mapping

from matting_gateway.admission.tenant_file import Tenant
from matting_gateway.admission.tenants import Tenants
from matting_gateway.errors import CredentialsInvalidError

_SCHEME = "bearer "
# grpc's names for what is in a verified certificate. Alternative names before the common one, as RFC 6125 has it.
_NAME_PROPERTIES = ("x509_subject_alternative_name", "x509_common_name")


def authenticate(
    tenants: Tenants, metadata: Iterable[tuple[str, str | bytes]], auth_context: Mapping[str, Iterable[bytes]]
) -> Tenant:
    """Return who calls; `ANONYMOUS` while no tenants are configured.

    Args:
        tenants: Who there is.
        metadata: The call's invocation metadata.
        auth_context: What grpc knows of the connection; names appear there only once verified.

    Raises:
        CredentialsMissingError: There are no credentials, and they are needed.
        CredentialsInvalidError: They are nobody's, or not of a form that is understood.
    """
    if not tenants.closed:
        return tenants.identify(None, ())
    return tenants.identify(_bearer_token(metadata), _certificate_names(auth_context))


def _bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    values = [value for key, value in metadata if key == "authorization"]
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or not isinstance(value, str) or not value.lower().startswith(_SCHEME):
        raise CredentialsInvalidError("The metadata `authorization` must be one `Bearer <token>`.")
    return value[len(_SCHEME) :].strip()


def _certificate_names(auth_context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    return tuple(name.decode("utf-8", "replace") for key in _NAME_PROPERTIES for name in auth_context.get(key, ()))
