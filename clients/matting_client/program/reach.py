# SPDX-License-Identifier: Apache-2.0
"""Finds out by plain sockets why no gateway was reached, in words that a person can act on."""

import socket
import ssl
from collections.abc import Sequence

from matting_client.transport.connection import Tls, host_and_port

LOOK_TIMEOUT_S = 2.0
# The preface of an HTTP/2 client with empty settings (RFC 9113, 3.4); a server answers with settings of its own.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4


def why_unreachable(addresses: Sequence[str], tls: Tls | None, said: str) -> str:
    """Say why nobody answered at any of the addresses; `said` is gRPC's word on it, for where nothing else is found."""
    found = [look(address, tls) for address in addresses]
    listening = [what for what, listens in found if listens]
    if listening:
        return next(
            (what for what in listening if what), f"the gateway at {', '.join(addresses)} did not answer: {said}"
        )
    closer = "".join(f" ({what})" for what, _ in found[:1] if what)
    return f"no gateway answered at {', '.join(addresses)}{closer}; is it running? --server names another"


def look(address: str, tls: Tls | None) -> tuple[str, bool]:
    """Return what is wrong at an address, empty where that is not seen, and whether anybody listens there."""
    try:
        connection = _connect(address)
    except socket.gaierror:
        return f"the name {host_and_port(address)[0]} is not known", False
    except TimeoutError:
        return f"nothing came back within {LOOK_TIMEOUT_S:g} s", False
    except FileNotFoundError:
        return "there is no such socket", False
    except ConnectionRefusedError:
        return "", False
    except OSError as error:
        return error.strerror or str(error), False
    connection.close()
    return (_wrong_in_plaintext(address) if tls is None else _wrong_in_tls(address, tls)), True


def _wrong_in_plaintext(address: str) -> str:
    if _speaks_http2(address):
        return ""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        _shake_hands(address, unverified, None)  # whatever it says
    except OSError:
        return f"what listens at {address} is no gateway: it does not speak gRPC"
    return f"the gateway at {address} speaks TLS: give --tls, or --tls-ca FILE where your own roots sign"


def _wrong_in_tls(address: str, tls: Tls) -> str:
    host = "localhost" if address.startswith("unix:") else host_and_port(address)[0]
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
        if _shake_hands(address, context, tls.server_name or host):
            return ""
    except ssl.SSLCertVerificationError as error:
        return (
            f"the certificate of {address} is not accepted ({error.verify_message}); --tls-ca names roots to trust, "
            "--tls-server-name the name that it carries"
        )
    except ssl.SSLError as error:
        if _speaks_http2(address):
            return f"the gateway at {address} speaks plaintext, not TLS: leave the --tls options out"
        if "CERTIFICATE" in (error.reason or ""):
            return _wants_certificate(address, tls)
        return f"TLS with {address} failed ({error.reason or error})"
    except OSError:
        if _speaks_http2(address):
            return f"the gateway at {address} speaks plaintext, not TLS: leave the --tls options out"
        return f"what listens at {address} does not speak TLS"
    return _wants_certificate(address, tls)


def _wants_certificate(address: str, tls: Tls) -> str:
    """Say why a server may end a connection when TLS is there and nothing was asked yet."""
    if tls.certificate_file is None:
        return f"the gateway at {address} asks for a client certificate: give --tls-cert and --tls-key"
    return f"the gateway at {address} does not accept the certificate of --tls-cert"


def _speaks_http2(address: str) -> bool:
    try:
        with _connect(address) as connection:
            connection.sendall(_HTTP2_PREFACE)
            return connection.recv(9)[3:4] == bytes((_SETTINGS_FRAME,))
    except OSError:
        return False


def _shake_hands(address: str, context: ssl.SSLContext, name: str | None) -> bytes:
    """Shake hands and return what a server of HTTP/2 says first; with TLS 1.3 one that refuses a client ends here.

    Raises:
        OSError: That failed; `ssl.SSLError` is one.
    """
    context.set_alpn_protocols(["h2"])
    with _connect(address) as connection, context.wrap_socket(connection, server_hostname=name) as secure:
        secure.sendall(_HTTP2_PREFACE)
        return secure.recv(9)


def _connect(address: str) -> socket.socket:
    if not address.startswith("unix:"):
        return socket.create_connection(host_and_port(address), LOOK_TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(LOOK_TIMEOUT_S)
        connection.connect(address.removeprefix("unix:"))
    except BaseException:
        connection.close()
        raise
    return connection
