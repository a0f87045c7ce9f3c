# SPDX-License-Identifier: Apache-2.0
"""Channels to remote Tritons over TLS, by credentials that follow their files."""

import ssl
from collections.abc import Callable

import grpc

from matting_gateway.clock import Clock
from matting_gateway.reloading.watched_files import ReloadReport
from matting_gateway.triton.settings import ChannelOptions
from matting_gateway.triton.transport.credentials import TritonTls, TritonTlsSettings


class TlsChannels:
    """Opens channels, and has other connections opened, with the credentials in force at that time.

    Raises:
        WatchedFileError: The files cannot be read now.
    """

    def __init__(
        self, settings: TritonTlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
    ) -> None:
        self._tls = TritonTls(settings, clock=clock, on_reload=on_reload)
        self._tls.current()

    def open(self, target: str, server_name: str, options: ChannelOptions) -> grpc.aio.Channel:
        """Open a channel to `target`, whose certificate must name `server_name`."""
        named = (*options, ("grpc.ssl_target_name_override", server_name))
        return grpc.aio.secure_channel(target, self._tls.current().credentials, options=named)

    def context(self) -> ssl.SSLContext:
        """Return what connections that are no channel's are opened with."""
        return self._tls.current().context

    def reload(self) -> None:
        """Read the files again now; channels follow when they are next looked at."""
        self._tls.reload()

    def generation(self) -> int:
        """Return which version of the files a channel would be opened with now."""
        return self._tls.current().version

    def __repr__(self) -> str:
        return f"<TlsChannels {self._tls!r}>"
