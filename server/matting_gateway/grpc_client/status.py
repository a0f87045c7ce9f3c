# SPDX-License-Identifier: Apache-2.0
"""How a call ended, in gRPC's words (grpc/doc/PROTOCOL-HTTP2.md, http-grpc-status-mapping.md)."""

import urllib.parse
from dataclasses import dataclass

import grpc

from matting_gateway.http2 import frames
from matting_gateway.http2.header_blocks import Fields

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_OF_HTTP = {
    b"400": grpc.StatusCode.INTERNAL,
    b"401": grpc.StatusCode.UNAUTHENTICATED,
    b"403": grpc.StatusCode.PERMISSION_DENIED,
    b"404": grpc.StatusCode.UNIMPLEMENTED,
    b"429": grpc.StatusCode.UNAVAILABLE,
    b"502": grpc.StatusCode.UNAVAILABLE,
    b"503": grpc.StatusCode.UNAVAILABLE,
    b"504": grpc.StatusCode.UNAVAILABLE,
}
_OF_RESET = {
    frames.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    frames.CANCEL: grpc.StatusCode.CANCELLED,
    frames.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
    frames.INADEQUATE_SECURITY: grpc.StatusCode.PERMISSION_DENIED,
}


class CallError(grpc.aio.AioRpcError):
    """A call failed."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed. `answered`: it is the server's own word, with which it is done with the call."""

    code: grpc.StatusCode
    text: str
    answered: bool = False

    def error(self) -> CallError:
        """Return it as what is raised: a new one each time, as tracebacks hold what their frames hold."""
        return CallError(self.code, self.text)


def reset_failure(code: int, text: str) -> Failure:
    """Return what an error code of HTTP/2 means."""
    return Failure(_OF_RESET.get(code, grpc.StatusCode.INTERNAL), text)


def answered_failure(headers: Fields, trailers: Fields) -> Failure | None:
    """Return what a complete answer says went wrong. The two are the same block where there was only one."""
    by_name = dict(trailers)
    status = by_name.get(b"grpc-status")
    first = by_name if headers is trailers else dict(headers)
    if status is None:
        return _without_status(first)
    if status == b"0":
        if not first.get(b"content-type", b"").startswith(b"application/grpc"):
            return Failure(grpc.StatusCode.UNKNOWN, "The answer is none of gRPC's.")
        return None
    code = _CODES.get(int(status), grpc.StatusCode.UNKNOWN) if status.isdigit() else grpc.StatusCode.UNKNOWN
    if code is grpc.StatusCode.OK:  # "00"
        code = grpc.StatusCode.UNKNOWN
    text = urllib.parse.unquote_to_bytes(by_name.get(b"grpc-message", b"")).decode("utf-8", "replace")
    return Failure(code, text, answered=True)


def _without_status(headers: dict[bytes, bytes]) -> Failure:
    status = headers.get(b":status", b"")
    if status == b"200":
        return Failure(grpc.StatusCode.UNKNOWN, "The answer has no status.")
    code = _OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
    return Failure(code, f"The answer is HTTP status {status.decode('ascii', 'replace')}.")
