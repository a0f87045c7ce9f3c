# SPDX-License-Identifier: Apache-2.0
"""TLS to servers, which are Tritons and the collector of traces: credentials from files that may change."""

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


@dataclass(frozen=True, slots=True, repr=False)
class ClientIdentity:
    """What channels and other connections to a server are made with. Another `version` means: make new ones."""

    version: int
    credentials: grpc.ChannelCredentials
    context: ssl.SSLContext


class ClientTls:
    """The credentials of connections to a server. Owns the files they are made of."""

    def __init__(
        self, settings: ClientTlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
    ) -> None:
        self._settings = settings
        paths = [p for p in (settings.ca_file, settings.certificate_file, settings.key_file) if p is not None]
        self._files: WatchedFiles[tuple[grpc.ChannelCredentials, ssl.SSLContext]] = WatchedFiles(
            paths, self._read, clock=clock, on_reload=on_reload
        )

    def current(self) -> ClientIdentity:
        """Return the credentials in force.

        Raises:
            WatchedFileError: The files cannot be read, and never could.
        """
        credentials, context = self._files.value()
        return ClientIdentity(self._files.version, credentials, context)

    def reload(self) -> None:
        """Read the files again now."""
        self._files.reload()

    def __repr__(self) -> str:
        return f"<ClientTls {self._files!r}>"

    def _read(self) -> tuple[grpc.ChannelCredentials, ssl.SSLContext]:
        s = self._settings
        roots = None if s.ca_file is None else read_roots(s.ca_file)
        context = _context(roots)
        if s.certificate_file is None or s.key_file is None:
            return grpc.ssl_channel_credentials(root_certificates=roots), context
        pair = read_key_pair(s.certificate_file, s.key_file)
        context.load_cert_chain(s.certificate_file, s.key_file)
        return grpc.ssl_channel_credentials(roots, pair.private_key, pair.certificate_chain), context


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
