# SPDX-License-Identifier: Apache-2.0
"""What is known of one backend, as others see it."""

from dataclasses import dataclass

from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling
from matting_gateway.triton.shared_memory.slabs import SharedMemoryStatistics


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """What is known of one backend.

    `state` is "up", or why it is not used. `suspects` are models whose last answer broke their contract.
    `data_handling` is what it said when last seen well.
    """

    backend: str
    healthy: bool
    state: str
    server_version: str
    models: tuple[str, ...]
    suspects: tuple[str, ...]
    batches_in_flight: int
    batch_count: int
    failure_count: int
    shared_memory: SharedMemoryStatistics
    data_handling: BackendDataHandling
