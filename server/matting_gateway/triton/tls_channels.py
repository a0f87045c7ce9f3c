# SPDX-License-Identifier: Apache-2.0
"""Channels to remote Tritons over TLS, by credentials that follow their files."""

from collections.abc import Callable

import grpc

from matting_gateway.clock import Clock
from matting_gateway.triton.credentials import TritonTls, TritonTlsSettings
from matting_gateway.triton.settings import ChannelFactory, ChannelOptions
from matting_gateway.watched_files import ReloadReport


def tls_channels(
    settings: TritonTlsSettings, *, clock: Clock, on_reload: Callable[[ReloadReport], None] | None = None
) -> ChannelFactory:
    """Return what opens channels with the credentials in force at that time.

    Raises:
        WatchedFileError: The files cannot be read now.
    """
    tls = TritonTls(settings, clock=clock, on_reload=on_reload)
    tls.current()

    def open_channel(target: str, server_name: str, options: ChannelOptions) -> grpc.aio.Channel:
        named = (*options, ("grpc.ssl_target_name_override", server_name))
        return grpc.aio.secure_channel(target, tls.current().credentials, options=named)

    return open_channel
