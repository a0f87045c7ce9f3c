# SPDX-License-Identifier: Apache-2.0
"""What can be set about the way to the Tritons."""

from dataclasses import dataclass
from enum import Enum

from matting_gateway.options import option
from matting_gateway.reloading.client_tls import ClientIdentity
from matting_gateway.reloading.watched_files import WatchedFiles


class SharedMemoryUse(Enum):
    """Whether batches go to a Triton on the same host through shared memory."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Settings of the pool.

    Attributes:
        wanted_model: The one that is looked for among the models that are not ready, where it is not ready.
        tls: Has what connections are opened with; None: in the clear.
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
    tls: WatchedFiles[ClientIdentity] | None = None
    slots_per_instance: int = 2
    probe_timeout_s: float = 1.0
    refresh_interval_s: float = 2.0
    config_interval_s: float = 60.0
    first_retry_s: float = 0.1
    longest_retry_s: float = 1.0
    resolve_interval_s: float = 5.0
    max_message_bytes: int = 512 << 20
    shared_memory: SharedMemoryUse = option(
        SharedMemoryUse.AUTO,
        "--triton-shared-memory",
        "auto: batches go to a Triton on this host through shared memory; off.",
    )
    shared_memory_bytes: int = 256 << 20
    scrub: bool = True
    scrub_backends: bool = False
