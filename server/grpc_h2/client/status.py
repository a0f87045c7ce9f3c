# SPDX-License-Identifier: Apache-2.0
"""How a call ended, in gRPC's words (grpc/doc/PROTOCOL-HTTP2.md, http-grpc-status-mapping.md)."""

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import Fields

_MAX_TYPE_LENGTH = 60
_MIME_TYPE = re.compile(rb"[a-z]+/[a-z0-9.+-]{1,50}")
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
    """A call failed. `unreachable`: not by the word of a gRPC server, but on the way to one; see `Failure`."""

    def __init__(self, code: grpc.StatusCode, text: str, *, unreachable: bool = False) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text)
        self.unreachable = unreachable


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed.

    `answered`: it is the server's own word, with which it is done with the call. `unreachable`: no gRPC server was
    heard: there is no connection, it went wrong, or something else answered; the text is ours and says what.
    """

    code: grpc.StatusCode
    text: str
    answered: bool = False
    unreachable: bool = False

    def error(self) -> CallError:
        """Return it as what is raised: a new one each time, as tracebacks hold what their frames hold."""
        return CallError(self.code, self.text, unreachable=self.unreachable)


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
        if not is_grpc(first):
            text = f"the answer is {_content_type(first)} instead of gRPC"
            return Failure(grpc.StatusCode.UNKNOWN, text, unreachable=True)
        return None
    code = _CODES.get(int(status), grpc.StatusCode.UNKNOWN) if status.isdigit() else grpc.StatusCode.UNKNOWN
    if code is grpc.StatusCode.OK:  # "00"
        code = grpc.StatusCode.UNKNOWN
    text = urllib.parse.unquote_to_bytes(by_name.get(b"grpc-message", b"")).decode("utf-8", "replace")
    return Failure(code, text, answered=True)


def is_grpc(headers: Mapping[bytes, bytes]) -> bool:
    """Whether an answer's headers say that its body is made of gRPC's messages."""
    return headers.get(b":status") == b"200" and headers.get(b"content-type", b"").startswith(b"application/grpc")


def _without_status(headers: Mapping[bytes, bytes]) -> Failure:
    status = headers.get(b":status", b"")
    if status == b"200":
        if is_grpc(headers):
            return Failure(grpc.StatusCode.UNKNOWN, "the answer ends without a status of gRPC", unreachable=True)
        text = f"the answer is {_content_type(headers)} instead of gRPC"
        return Failure(grpc.StatusCode.UNKNOWN, text, unreachable=True)
    code = _OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
    text = f"the answer is {_content_type(headers)} with HTTP status {_plain(status)} instead of gRPC"
    return Failure(code, text, unreachable=True)


def _content_type(headers: Mapping[bytes, bytes]) -> str:
    """Return what a body says that it is, and nothing that could be content."""
    named = headers.get(b"content-type", b"").partition(b";")[0].strip()
    return _plain(named) if _MIME_TYPE.fullmatch(named) else "of an unknown type"


def _plain(value: bytes) -> str:
    return value[:_MAX_TYPE_LENGTH].decode("ascii", "replace")
