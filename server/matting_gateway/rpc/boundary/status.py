# SPDX-License-Identifier: Apache-2.0
"""The one place where the gateway's errors become gRPC statuses with details."""

import math

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from matting_gateway.errors import GatewayError, InternalError

DOMAIN = "matting-gateway"
PUSHBACK_KEY = "grpc-retry-pushback-ms"
_MOST_PUSHBACK_MS = 2**31 - 1


def duration(seconds: float) -> Duration:
    """Return seconds as a protobuf Duration, not below zero."""
    whole_s, nanoseconds = divmod(max(0, round(seconds * 1e9)), 1_000_000_000)
    return Duration(seconds=whole_s, nanos=nanoseconds)


def to_status(error: GatewayError) -> status_pb2.Status:
    """Return the `google.rpc.Status` of an error: code, public text, ErrorInfo and what else applies."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code.value), message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    status.details.add().Pack(info)
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration(error.retry_after_s)))
    return status


def pushback(error: GatewayError) -> tuple[tuple[str, str], ...]:
    """Return the metadatum by which gRPC's own retries wait as long as RetryInfo says (gRFC A6), where it says so."""
    if error.retry_after_s is None:
        return ()
    return ((PUSHBACK_KEY, str(math.ceil(min(max(0.0, 1000 * error.retry_after_s), _MOST_PUSHBACK_MS)))),)


def to_grpc_code(error: GatewayError) -> grpc.StatusCode:
    """Return the gRPC code of an error."""
    return grpc.StatusCode[error.code.value]


def unexpected(exc: Exception) -> InternalError:
    """Return the public face of an exception that nobody foresaw: nothing of its text, which may quote content."""
    error = InternalError("The gateway failed at this call; the photo is released. Try again, and tell its operator.")
    error.__cause__ = exc
    return error
