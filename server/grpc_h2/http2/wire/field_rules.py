# SPDX-License-Identifier: Apache-2.0
"""Which fields make a message malformed (RFC 9113, 8.1.1, 8.2 and 8.3). Pure; names are compared as they came."""

import re
from collections.abc import Iterable

from grpc_h2.http2.wire.errors import MalformedMessage
from grpc_h2.http2.wire.header_blocks import Fields

_NAME = re.compile(rb"[!-9;-@[-~]+")  # visible, no colon, nothing upper-case (8.2.1)
_BAD_VALUE = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z")
# Clients whose token is empty send "Bearer " there; they are to hear what is wrong with it.
_CREDENTIALS = b"authorization"
_OF_CONNECTIONS = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_OF_REQUESTS = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_RESPONSES = frozenset({b":status"})
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_DEFAULT_PORT = {b"http": b":80", b"https": b":443"}


def check_request(fields: Fields) -> int | None:
    """Return the length in bytes that a request announces of its body, None where it announces none.

    Raises:
        MalformedMessage: It is no request.
    """
    pseudo, content_length = _checked(fields, _OF_REQUESTS)
    method, scheme, path = pseudo.get(b":method"), pseudo.get(b":scheme"), pseudo.get(b":path")
    if not method:
        raise MalformedMessage("a request without a method")
    if method == b"CONNECT":
        if scheme is not None or path is not None or not pseudo.get(b":authority"):
            raise MalformedMessage("a CONNECT that names more than an authority")
        return content_length
    if not scheme or path is None:
        raise MalformedMessage("a request without a scheme or a path")
    if scheme in _DEFAULT_PORT and not path.startswith(b"/") and (path, method) != (b"*", b"OPTIONS"):
        raise MalformedMessage("a path that does not begin with a slash")
    authority = pseudo.get(b":authority")
    if authority is not None:
        if b"@" in authority:
            raise MalformedMessage("an authority that names a user")
        _check_hosts([value for name, value in fields if name == b"host"], authority, scheme)
    return content_length


def check_response(fields: Fields) -> int | None:
    """Return the length in bytes that a response announces of its body, None where it announces none.

    Raises:
        MalformedMessage: It is no response.
    """
    pseudo, content_length = _checked(fields, _OF_RESPONSES)
    if not _STATUS.fullmatch(pseudo.get(b":status", b"")):
        raise MalformedMessage("an answer without a status")
    return content_length


def check_trailers(fields: Fields) -> None:
    """Look at the fields after a body.

    Raises:
        MalformedMessage: They are no trailers.
    """
    _checked(fields, frozenset())


def _checked(fields: Fields, allowed: frozenset[bytes]) -> tuple[dict[bytes, bytes], int | None]:
    """Return the pseudo-headers by name, and the length announced."""
    pseudo: dict[bytes, bytes] = {}
    content_length: int | None = None
    regular = False
    for name, value in fields:
        if _BAD_VALUE.search(value.rstrip(b" ") if name == _CREDENTIALS else value):
            raise MalformedMessage("a field's value has characters that none may have")
        if name[:1] == b":":
            if regular or name not in allowed or name in pseudo:
                raise MalformedMessage("a pseudo-header that is unknown, given twice or after other fields")
            pseudo[name] = value
            continue
        regular = True
        if not _NAME.fullmatch(name):
            raise MalformedMessage("a field's name has characters that none may have")
        if name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
            raise MalformedMessage("a field that is a connection's own")
        if name == b"content-length":
            if content_length is not None or not _DIGITS.fullmatch(value):
                raise MalformedMessage("a content-length that is no number, or given twice")
            content_length = int(value)
    return pseudo, content_length


def _check_hosts(hosts: Iterable[bytes], authority: bytes, scheme: bytes) -> None:
    """Raise where a Host header names somebody else than the authority (8.3.1)."""
    port = _DEFAULT_PORT.get(scheme, b"")
    wanted = authority.lower().removesuffix(port)
    if any(host.lower().removesuffix(port) != wanted for host in hosts):
        raise MalformedMessage("a host that is not the authority")
