# SPDX-License-Identifier: Apache-2.0
"""What can be set about the way to the Tritons."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import grpc

ChannelOptions: TypeAlias = Sequence[tuple[str, int | str]]
# (target, server name for certificate checks, options) -> channel
ChannelFactory: TypeAlias = Callable[[str, str, ChannelOptions], grpc.aio.Channel]


def plaintext_channel(target: str, server_name: str, options: ChannelOptions) -> grpc.aio.Channel:
    """Open a channel without encryption: for loopback and sockets."""
    del server_name
    return grpc.aio.insecure_channel(target, options=options)


def one_generation() -> int:
    """Return the one generation of channels whose credentials never change."""
    return 1


def no_tls() -> None:
    """Return what connections in the clear are made with beside such channels."""


class SharedMemoryUse(Enum):
    """Whether batches go to a Triton on the same host through shared memory."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Settings of the pool.

    Attributes:
        wanted_model: The one that is looked for among the models that are not ready, where it is not ready.
        channel_factory: Opens channels; the place for TLS.
        tls: What connections for batches are opened with, as channels opened now would be; None: in the clear.
        channel_generation: Goes up when a channel opened now has other credentials than one opened before.
        slots_per_instance: Batches in flight for each instance of a model; 2 lets the transfer of one
            batch overlap the computation of another.
        probe_timeout_s: How long a backend may take to answer whether it is alive, or to take a connection.
        refresh_interval_s: How often a healthy backend is asked what it serves.
        config_interval_s: How often the configuration of an unchanged model version is read again.
        first_retry_s: Pause before a failed backend is probed again; doubles, with jitter, ...
        longest_retry_s: ... up to this.
        resolve_interval_s: How often host names are looked up again.
        max_message_bytes: The largest message sent to or taken from a backend.
        shared_memory: Whether to use shared memory where backend and gateway share a host.
        shared_memory_bytes: The most shared memory held for each backend.
        scrub: Whether pixels are overwritten when a slab comes back.
        scrub_backends: Whether backends are asked to overwrite what they keep of a model's batches when it
            rests; for those that serve nobody else.
    """

    wanted_model: str = ""
    channel_factory: ChannelFactory = plaintext_channel
    tls: Callable[[], ssl.SSLContext | None] = no_tls
    channel_generation: Callable[[], int] = one_generation
    slots_per_instance: int = 2
    probe_timeout_s: float = 1.0
    refresh_interval_s: float = 2.0
    config_interval_s: float = 60.0
    first_retry_s: float = 0.1
    longest_retry_s: float = 1.0
    resolve_interval_s: float = 5.0
    max_message_bytes: int = 512 << 20
    shared_memory: SharedMemoryUse = SharedMemoryUse.AUTO
    shared_memory_bytes: int = 256 << 20
    scrub: bool = True
    scrub_backends: bool = False


def channel_options(settings: PoolSettings) -> ChannelOptions:
    """Return the gRPC options of a channel to a Triton."""
    return (
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        # A batch is tried again by the scheduler, which knows the deadlines; never behind its back.
        ("grpc.enable_retries", 0),
        # A Triton that returns is noticed within a second.
        ("grpc.initial_reconnect_backoff_ms", int(1000 * settings.first_retry_s)),
        ("grpc.min_reconnect_backoff_ms", int(1000 * settings.probe_timeout_s)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * settings.longest_retry_s)),
        # Every backend has a connection of its own.
        ("grpc.use_local_subchannel_pool", 1),
    )
