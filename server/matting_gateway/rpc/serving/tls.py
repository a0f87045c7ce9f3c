# SPDX-License-Identifier: Apache-2.0
"""The listener's TLS: 1.3 only, certificate files that reload, and callers' certificates where wanted."""

import functools
import ssl
from collections.abc import Callable

from matting_gateway.clock import Clock
from matting_gateway.reloading.watched_files import ReloadReport, WatchedFiles, read_key_pair, read_roots
from matting_gateway.rpc.settings import TlsSettings


def server_tls(
    settings: TlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
) -> WatchedFiles[ssl.SSLContext]:
    """Return the TLS context of a listener, which is a new one for handshakes after the files changed.

    Open connections keep the certificate they began with.
    """
    paths = (settings.certificate_file, settings.key_file, settings.client_ca_file)
    existing = [path for path in paths if path is not None]
    return WatchedFiles(existing, functools.partial(_context, settings), clock=clock, on_reload=on_reload)


def _context(settings: TlsSettings) -> ssl.SSLContext:
    read_key_pair(settings.certificate_file, settings.key_file)  # says what is wrong with them better than OpenSSL
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(settings.certificate_file, settings.key_file)
    # No tickets: the keys that protect them would have to be kept, and rotated.
    context.num_tickets = 0
    if settings.client_ca_file is not None:
        context.load_verify_locations(cadata=read_roots(settings.client_ca_file).decode("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
    return context
