# SPDX-License-Identifier: Apache-2.0
"""Bare TLS clients: what a server accepts, told by real handshakes."""

import socket
import ssl
from pathlib import Path

_PATIENCE_S = 10.0


class RefusedError(Exception):
    """No handshake came about. A certificate that the client itself refuses is an ssl.SSLCertVerificationError."""


def context(
    *,
    roots: bytes | None,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
    ciphers: str = "ALL:@SECLEVEL=0",
    identity: tuple[Path, Path] | None = None,
) -> ssl.SSLContext:
    """Return a client's context, as lenient as OpenSSL lets it be. `roots` None: any server certificate will do."""
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if roots is None:
        result.check_hostname = False
        result.verify_mode = ssl.CERT_NONE
    else:
        result.load_verify_locations(cadata=roots.decode("ascii"))
    result.set_ciphers(ciphers)
    result.minimum_version, result.maximum_version = versions
    result.set_alpn_protocols(["h2"])
    if identity is not None:
        result.load_cert_chain(*identity)
    return result


def handshake(address: str, client: ssl.SSLContext, *, name: str = "localhost") -> str:
    """Shake hands, and return the version agreed on.

    In TLS 1.3 a server that refuses the client's certificate says so after the client is done,
    so the first bytes of HTTP/2 are waited for.

    Raises:
        RefusedError: The server refused.
        ssl.SSLCertVerificationError: The client did.
    """
    try:
        return _handshake(address, client, name)
    except ssl.SSLCertVerificationError:
        raise
    except OSError as exc:
        raise RefusedError(str(exc)) from exc


def _handshake(address: str, client: ssl.SSLContext, name: str) -> str:
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S) as raw,
        client.wrap_socket(raw, server_hostname=name) as wrapped,
    ):
        wrapped.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        if not wrapped.recv(9):
            raise ConnectionResetError("closed without a word")
        return str(wrapped.version())


def plain_bytes(address: str, sent: bytes) -> bytes:
    """Send bytes in the clear, and return what comes back until the server closes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=_PATIENCE_S) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := raw.recv(4096):
            answer += chunk
        return answer
