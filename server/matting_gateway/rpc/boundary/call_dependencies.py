# SPDX-License-Identifier: Apache-2.0
"""What the calls of all services share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from grpc_h2.server.bare_call import BareCall

from matting_gateway.admission.gate import Gate
from matting_gateway.admission.tenants import Tenants
from matting_gateway.clock import Clock
from matting_gateway.rpc.boundary.call_info import CallInfo
from matting_gateway.rpc.boundary.call_scope import CallScope
from matting_gateway.rpc.boundary.timeouts import Timeouts
from matting_gateway.rpc.settings import DoorSettings
from matting_gateway.telemetry.series import HistogramSeries


@dataclass(frozen=True, slots=True)
class CallDependencies:
    """What the calls of all services share.

    Attributes:
        gate: Grants memory.
        tenants: Who calls, and what is left to them.
        scope: Returns what leads a call through the boundary, by its method.
        on_bug: Told of what should not have happened.
        draining: Set when the gateway shuts down.
        receiving: How long a unary call's message may take to come.
        receive_seconds: How long such messages took.
        clock: Tells the time.
        settings: The limits.
    """

    gate: Gate
    tenants: Tenants
    scope: Callable[[str, BareCall], CallScope]
    on_bug: Callable[[CallInfo, Exception], None]
    draining: asyncio.Event
    receiving: Timeouts
    receive_seconds: HistogramSeries
    clock: Clock
    settings: DoorSettings
