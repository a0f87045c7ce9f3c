# SPDX-License-Identifier: Apache-2.0
"""The one place where a failed call becomes an exception."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from matting_client.errors import (
    CallCancelledError,
    ErrorDetails,
    MattingError,
    MessageTooLargeError,
    NoAnswerInTimeError,
    ServerUnreachableError,
    UnexpectedStatusError,
)
from matting_client.transport.receipt import Receipt, receipt_of

DOMAIN = "matting-gateway"

# The classes of `errors`, each of which names its reason.
BY_REASON: Mapping[str, type[MattingError]] = {
    error.reason: error for error in MattingError.__subclasses__() if error.reason
}

_BARE: Mapping[grpc.StatusCode, type[MattingError]] = {
    grpc.StatusCode.UNAVAILABLE: ServerUnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: NoAnswerInTimeError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: MessageTooLargeError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
}

_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_of_status(status: status_pb2.Status, *, request_id: str = "", receipt: Receipt | None = None) -> MattingError:
    """Turn a `google.rpc.Status` into the exception of its reason."""
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    bad_request = error_details_pb2.BadRequest()
    retry_after_s: float | None = None
    field_path = ""
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            field_path = bad_request.field_violations[0].field
        else:
            detail.Unpack(info)
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    known = BY_REASON.get(info.reason) if info.domain == DOMAIN else None
    error_class = known or _BARE.get(code, UnexpectedStatusError)
    details = ErrorDetails(
        field_path=field_path,
        retry_after_s=retry_after_s,
        metadata=dict(info.metadata),
        request_id=request_id,
        receipt=receipt,
    )
    return error_class(status.message, code=code, details=details)


def error_of_call(call: Any, *, request_id: str = "") -> MattingError:  # grpc's two kinds share no type
    """Turn a failed call of grpc or grpc.aio (anything with code, details, trailing_metadata) into an exception."""
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # the details contradict the status itself: trust the status
        status = None
    if status is None:
        status = status_pb2.Status(code=call.code().value[0], message=call.details() or "")
    return error_of_status(status, request_id=request_id, receipt=receipt_of(call.trailing_metadata()))
