# SPDX-License-Identifier: Apache-2.0
"""A call's headers and trailers as gRPC means them ("gRPC over HTTP2", grpc/doc/PROTOCOL-HTTP2.md)."""

import base64
import binascii
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from grpc_h2.http2.wire.header_blocks import Fields, write_fields, write_text

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

# 0x88: ":status: 200" (RFC 7541, A).
_RESPONSE_HEADERS = b"\x88" + write_fields(
    [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity,deflate,gzip")]
)
_OK = write_fields([(b"grpc-status", b"0")])
_UNSUPPORTED_MEDIA_TYPE = write_fields([(b":status", b"415")])
_METHOD_NOT_ALLOWED = write_fields([(b":status", b"405")])

_NOT_METADATA = frozenset({b"content-type", b"te", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"})
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_NAME = re.compile(rb"[0-9a-z_.\-]+")
# What may not stand in a percent-encoded message: all but printable ASCII without "%", and spaces around it.
_NOT_PLAIN = re.compile(rb"[^ -$&-~]|\A +| +\Z")
# In the value of an ASCII header.
_NOT_PRINTABLE = re.compile(rb"[^ -~]")


class NotGrpcError(Exception):
    """The request is no call of gRPC's; `headers` is the block that answers it."""

    def __init__(self, headers: bytes) -> None:
        super().__init__("not a call of gRPC's")
        self.headers = headers


class BadMetadataError(Exception):
    """The headers are a call's, but cannot be understood; the text says what is wrong."""


class MetadataTooLargeError(BadMetadataError):
    """There are more headers than a call may have."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The call's metadata are larger than {max_bytes} bytes; send less.")


@dataclass(frozen=True, slots=True, repr=False)
class CallHead:
    """What headers say of a call. `timeout_s` is None where the caller waits for ever.

    `byte_count` is their size as HTTP/2 has it (RFC 9113, 6.5.2), and about what they take.
    """

    method: str
    timeout_s: float | None
    encoding: str
    metadata: Metadata
    byte_count: int = field(default=0, compare=False)


def read_head(fields: Fields, *, max_bytes: int) -> CallHead:
    """Read the headers of a call.

    Raises:
        NotGrpcError: They are of something else.
        MetadataTooLargeError: They are more than `max_bytes` (RFC 9113, 6.5.2).
        BadMetadataError: They are damaged.
    """
    byte_count = sum(len(name) + len(value) + 32 for name, value in fields)
    if byte_count > max_bytes:
        raise MetadataTooLargeError(max_bytes)
    by_name = dict(fields)
    _check_grpc(by_name)
    own = tuple(
        (name.decode(), value)
        for name, values in fields
        if not name.startswith(b":") and name not in _NOT_METADATA
        for value in _values(name, values)
    )
    return CallHead(
        method=_ascii(by_name.get(b":path", b"")),
        timeout_s=_timeout_s(by_name.get(b"grpc-timeout")),
        encoding=_ascii(by_name.get(b"grpc-encoding", b"identity")),
        metadata=own,
        byte_count=byte_count,
    )


def _check_grpc(fields: dict[bytes, bytes]) -> None:
    if fields.get(b":method") != b"POST":
        raise NotGrpcError(_METHOD_NOT_ALLOWED)
    content_type = fields.get(b"content-type", b"")
    if not (
        content_type == b"application/grpc" or content_type.startswith((b"application/grpc+", b"application/grpc;"))
    ):
        raise NotGrpcError(_UNSUPPORTED_MEDIA_TYPE)


def _values(name: bytes, value: bytes) -> Sequence[str | bytes]:
    """Return the one value of a header, or of a binary one those that somebody on the way may have joined."""
    if not _NAME.fullmatch(name):
        raise BadMetadataError("The name of a metadatum has characters that gRPC does not allow.")
    if not name.endswith(b"-bin"):
        return [_ascii(value)]
    try:
        return [base64.b64decode(one + b"=" * (-len(one) % 4), validate=True) for one in value.split(b",")]
    except binascii.Error as exc:
        raise BadMetadataError("A binary metadatum is not in Base64.") from exc


def _ascii(value: bytes) -> str:
    if _NOT_PRINTABLE.search(value):
        raise BadMetadataError("A metadatum has characters that are not printable ASCII.")
    return value.decode()


def _timeout_s(value: bytes | None) -> float | None:
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise BadMetadataError("grpc-timeout must be up to eight digits and one of H, M, S, m, u, n.")
    return int(match[1]) * _UNIT_S[match[2]]


def initial_block(metadata: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """Return the header block that an answer begins with."""
    return _RESPONSE_HEADERS + metadata_block(metadata)


def status_block(code: int, message: str) -> bytes:
    """Return the part of the block that ends an answer which says how it ended."""
    if not code and not message:
        return _OK
    status = [(b"grpc-status", str(code).encode())]
    if message:
        status.append((b"grpc-message", percent_encoded(message)))
    return write_fields(status)


def trailers_only_block(code: int, message: str, *, initial: Metadata = (), trailing: Metadata = ()) -> bytes:
    """Return the one block of an answer without a message: what would have gone with the headers goes with the status.

    A name that both have is told once, as the status has it.
    """
    told = {name for name, _ in trailing}
    own = [(name, value) for name, value in initial if name not in told]
    return initial_block(own) + status_block(code, message) + metadata_block(trailing)


def metadata_block(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Return the part with metadata of a block.

    Raises:
        ValueError: A value cannot be sent.
    """
    return b"".join([_written(key, value) for key, value in metadata])


def percent_encoded(message: str) -> bytes:
    """Return a status message as it travels."""
    return _NOT_PLAIN.sub(_percent_encoded, message.encode("utf-8", "replace"))


def _percent_encoded(match: re.Match[bytes]) -> bytes:
    return b"".join([b"%%%02X" % byte for byte in match[0]])


def _written(key: str | bytes, value: str | bytes) -> bytes:
    name, is_binary = _name(key)
    data = value.encode() if isinstance(value, str) else bytes(value)
    if is_binary:
        data = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    elif _NOT_PRINTABLE.search(data):
        raise ValueError(f"metadatum {key!r} must be printable ASCII")
    return name + write_text(data.strip(b" "))


@functools.lru_cache(maxsize=256)
def _name(key: str | bytes) -> tuple[bytes, bool]:
    """Return how a field begins that has this name, and whether its value is binary."""
    name = key.lower().encode() if isinstance(key, str) else key
    return b"\0" + write_text(name), name.endswith(b"-bin")
