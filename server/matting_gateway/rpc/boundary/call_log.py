# SPDX-License-Identifier: Apache-2.0
"""One log line for each call that ended, its trace where it has one, and one line for each bug."""

from collections.abc import Callable

import grpc

from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.call_scope import CallEnd
from matting_gateway.telemetry.logs import CallRecord, Logs, pixel_bucket, short_peer

_HEALTH = "/grpc.health.v1.Health/"


def log_end(logs: Logs, *, health_checks: bool) -> Callable[[CallEnd], None]:
    """Return what writes the line of a call that ended, and ends its trace; health checks only if wanted."""

    def write(end: CallEnd) -> None:
        call, trace = end.call, end.call.trace
        if not health_checks and call.method.startswith(_HEALTH):
            return
        record = CallRecord(
            method=call.method,
            code=end.code.name,
            reason=end.error.reason if end.error else "",
            tenant=call.tenant.name,
            model=call.model,
            size_bucket=pixel_bucket(call.pixel_count) if call.pixel_count else "",
            peer=short_peer(call.peer),
            request_id=call.request_id,
            duration_s=end.total_s,
            queue_s=call.queue_s,
            inference_s=call.inference_s,
            trace_id=trace.trace_id if trace is not None else "",
        )
        logs.call(record)
        if trace is not None:
            trace.end(call.started_s, call.started_s + end.total_s, error_type=_error_type(end), record=record)

    return write


def _error_type(end: CallEnd) -> str:
    return "" if end.code is grpc.StatusCode.OK else end.code.name


def log_bug(logs: Logs) -> Callable[[CallInfo, Exception], None]:
    """Return what writes the line of an exception that nobody foresaw."""

    def write(call: CallInfo, exc: Exception) -> None:
        logs.unexpected(exc, call.request_id)

    return write
