# SPDX-License-Identifier: Apache-2.0
"""What balancers are told with every answer: how loaded this gateway is, as ORCA says it (gRFC A51 and A58)."""

import struct
from collections import deque
from collections.abc import Callable

from grpc_h2.server.metadata import metadata_block

from matting_gateway.clock import Clock

LOAD_REPORT_KEY = "endpoint-load-metrics-bin"
_WINDOW_S = 1.0
_RENEWED_AFTER_S = 0.1
# Fields of xds.data.orca.v3.OrcaLoadReport that are doubles: the number, and the wire type of eight bytes.
_RPS_FRACTIONAL, _EPS, _APPLICATION_UTILIZATION = (bytes((number << 3 | 1,)) for number in (6, 7, 9))


class LoadReport:
    """The report of now, made anew ten times a second at the most: most answers cost a look at the clock.

    Owns the block, and how many calls had come and failed at times of the last second. Invariant: the oldest of
    these times is the last that is a second ago, so that what came between is what came within a second.

    Args:
        utilization: Tells what is offered over what can be done.
        counts: Tells how many calls came since the start, and how many failed.
        clock: Says when.
    """

    def __init__(
        self, utilization: Callable[[], float], counts: Callable[[], tuple[float, float]], *, clock: Clock
    ) -> None:
        self._utilization = utilization
        self._counts = counts
        self._now = clock.now
        self._seen: deque[tuple[float, float, float]] = deque([(clock.now(), *counts())])
        self._renew_s = float("-inf")
        self._block = b""

    def block(self) -> bytes:
        """Return the metadatum as a part of a header block."""
        now_s = self._now()
        if now_s >= self._renew_s:
            self._renew(now_s)
        return self._block

    def _renew(self, now_s: float) -> None:
        self._renew_s = now_s + _RENEWED_AFTER_S
        came, failed = self._counts()
        seen = self._seen
        seen.append((now_s, came, failed))
        while seen[1][0] <= now_s - _WINDOW_S:
            seen.popleft()
        since_s, came_before, failed_before = seen[0]
        age_s = now_s - since_s
        over_s = age_s if _WINDOW_S < age_s < 2 * _WINDOW_S else _WINDOW_S  # later there was a rest, earlier a start
        report = load_report(
            rps=(came - came_before) / over_s,
            eps=(failed - failed_before) / over_s,
            utilization=self._utilization(),
        )
        self._block = metadata_block(((LOAD_REPORT_KEY, report),))


def load_report(*, rps: float, eps: float, utilization: float) -> bytes:
    """Return an xds.data.orca.v3.OrcaLoadReport: requests and errors a second, application_utilization."""
    fields = ((_RPS_FRACTIONAL, rps), (_EPS, eps), (_APPLICATION_UTILIZATION, utilization))
    return b"".join(tag + struct.pack("<d", value) for tag, value in fields)
