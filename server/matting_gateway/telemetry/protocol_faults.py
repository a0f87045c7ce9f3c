# SPDX-License-Identifier: Apache-2.0
"""What peers do wrong on the wire: counted by kind, and told in the log, though not as often as they like."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from matting_gateway.clock import Clock
from matting_gateway.telemetry.anonymous import short_peer
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics

# A network's faults have so many lines in so many seconds.
_PERIOD_S = 10.0
_MAX_LINES = 10
_MAX_NETWORKS = 256


@dataclass(slots=True)
class _Network:
    since_s: float
    line_count: int = 0
    untold_count: int = 0


class ProtocolFaults:
    """Counts each fault, and logs it unless its network has had ten lines within 10 s; a line tells how many had none.

    Owns what each network's lines were. Invariant: no more than 256 networks are remembered, those heard of last.

    Args:
        kinds: All that there are.
        metrics: Where they are counted.
        logs: Where they are told.
        clock: Tells the time.
    """

    def __init__(self, kinds: Iterable[str], *, metrics: Metrics, logs: Logs, clock: Clock) -> None:
        self._counts = {kind: metrics.protocol_faults.labels(kind) for kind in kinds}
        self._logs = logs
        self._clock = clock
        self._networks: OrderedDict[str, _Network] = OrderedDict()

    def note(self, kind: str, text: str, peer: str) -> None:
        """Take a fault: its kind, what it was, and the peer as grpc names it."""
        self._counts[kind].inc()
        name, now_s = short_peer(peer), self._clock.now()
        network = self._networks.setdefault(name, _Network(now_s))
        self._networks.move_to_end(name)
        if len(self._networks) > _MAX_NETWORKS:
            self._networks.popitem(last=False)
        if now_s - network.since_s >= _PERIOD_S:
            network.since_s, network.line_count = now_s, 0
        if network.line_count >= _MAX_LINES:
            network.untold_count += 1
            return
        network.line_count += 1
        count, network.untold_count = 1 + network.untold_count, 0
        self._logs.event(Event.PROTOCOL_FAULT, kind=kind, detail=text, peer=name, count=count, level="warning")

    def __repr__(self) -> str:
        return f"<ProtocolFaults of {len(self._networks)} networks>"
