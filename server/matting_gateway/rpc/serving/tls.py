# SPDX-License-Identifier: Apache-2.0
"""The listener's TLS: 1.3 only, certificate files that reload, and callers' certificates where wanted."""

import ssl
from collections.abc import Callable

from matting_gateway.clock import Clock
from matting_gateway.reloading.watched_files import ReloadReport, WatchedFiles, read_key_pair, read_roots
from matting_gateway.rpc.settings import TlsSettings


class ServerTls:
    """The TLS context of a listener, a new one for handshakes after the files changed.

    Owns the files' watch. Open connections keep the certificate they began with.
    """

    def __init__(
        self, settings: TlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
    ) -> None:
        self._settings = settings
        paths = [settings.certificate_file, settings.key_file]
        if settings.client_ca_file is not None:
            paths.append(settings.client_ca_file)
        self._files: WatchedFiles[ssl.SSLContext] = WatchedFiles(paths, self._read, clock=clock, on_reload=on_reload)

    def context(self) -> ssl.SSLContext:
        """Return the context for a handshake that begins now.

        Raises:
            WatchedFileError: The files cannot be read, or do not fit together, and never did.
        """
        return self._files.value()

    def reload(self) -> None:
        """Read the files again now."""
        self._files.reload()

    def __repr__(self) -> str:
        return f"<ServerTls {self._files!r}>"

    def _read(self) -> ssl.SSLContext:
        s = self._settings
        read_key_pair(s.certificate_file, s.key_file)  # says what is wrong with them better than OpenSSL
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(s.certificate_file, s.key_file)
        # No tickets: the keys that protect them would have to be kept, and rotated.
        context.num_tickets = 0
        if s.client_ca_file is not None:
            context.load_verify_locations(cadata=read_roots(s.client_ca_file).decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context
