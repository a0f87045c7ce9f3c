# SPDX-License-Identifier: Apache-2.0
"""TLS to servers, which are Tritons and the collector of traces: credentials from files that may change."""

import functools
import pkgutil
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from matting_gateway.clock import Clock
from matting_gateway.reloading.watched_files import ReloadReport, WatchedFiles, read_key_pair, read_roots


@dataclass(frozen=True, slots=True)
class ClientTlsSettings:
    """Files, PEM. No `ca_file`: the authorities that grpc brings. The other two, given together: our own identity."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("A certificate of ours needs its key file, and a key its certificate file.")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ClientIdentity:
    """What channels and other connections to a server are made with. Another one than before means: make new ones."""

    credentials: grpc.ChannelCredentials
    context: ssl.SSLContext


def client_tls(
    settings: ClientTlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
) -> WatchedFiles[ClientIdentity]:
    """Return the credentials of connections to a server, which are new ones after the files changed."""
    paths = (settings.ca_file, settings.certificate_file, settings.key_file)
    existing = [path for path in paths if path is not None]
    return WatchedFiles(existing, functools.partial(_identity, settings), clock=clock, on_reload=on_reload)


def _identity(settings: ClientTlsSettings) -> ClientIdentity:
    roots = None if settings.ca_file is None else read_roots(settings.ca_file)
    context = _context(roots)
    if settings.certificate_file is None or settings.key_file is None:
        return ClientIdentity(grpc.ssl_channel_credentials(root_certificates=roots), context)
    pair = read_key_pair(settings.certificate_file, settings.key_file)
    context.load_cert_chain(settings.certificate_file, settings.key_file)
    return ClientIdentity(grpc.ssl_channel_credentials(roots, pair.private_key, pair.certificate_chain), context)


def _context(roots: bytes | None) -> ssl.SSLContext:
    """Return a context that trusts whom a channel of gRPC's with these authorities would, by TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    if roots is None:
        roots = pkgutil.get_data("grpc", "_cython/_credentials/roots.pem") or b""
    context.load_verify_locations(cadata=roots.decode("ascii"))
    return context
