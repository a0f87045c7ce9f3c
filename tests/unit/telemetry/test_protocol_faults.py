# SPDX-License-Identifier: Apache-2.0
"""Each fault is counted; a network that makes many has few lines, and no other goes without its own for that."""

import io
import json
from typing import Any

from matting_gateway.telemetry.logs import Logs
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.telemetry.protocol_faults import ProtocolFaults
from prometheus_client import CollectorRegistry
from testkit.manual_clock import ManualClock

LINES_A_PERIOD = 10
PERIOD_S = 10.0


class Told:
    """Faults with a clock of the test's own, and what came of them. Owns all of it."""

    def __init__(self) -> None:
        self.clock, self.registry, self._stream = ManualClock(), CollectorRegistry(), io.StringIO()
        self._logs = Logs(self._stream, clock=self.clock)
        self.faults = ProtocolFaults(
            ("stream_closed", "no_alpn"), metrics=Metrics(self.registry), logs=self._logs, clock=self.clock
        )

    def count(self, kind: str) -> float | None:
        return self.registry.get_sample_value("matting_protocol_faults_total", {"kind": kind})

    def lines(self) -> list[dict[str, Any]]:
        self._logs.start()
        self._logs.close()
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


def test_every_kind_is_there_before_it_happens() -> None:
    told = Told()
    assert (told.count("stream_closed"), told.count("no_alpn")) == (0, 0)


def test_a_line_says_what_happened_and_from_which_network() -> None:
    told = Told()
    told.faults.note("no_alpn", "TLS without h2", "ipv4:192.0.2.77:1234")
    (line,) = told.lines()
    assert {name: line[name] for name in ("event", "kind", "detail", "peer", "count", "level")} == {
        "event": "protocol_fault",
        "kind": "no_alpn",
        "detail": "TLS without h2",
        "peer": "192.0.2.0/24",
        "count": 1,
        "level": "warning",
    }


def test_a_network_has_few_lines_and_the_next_tells_how_many_had_none() -> None:
    told = Told()
    for index in range(1000):
        told.faults.note("stream_closed", "late", f"ipv4:192.0.2.{index % 250}:1")
    told.faults.note("no_alpn", "none", "ipv6:%5B2001:db8::1%5D:1")
    told.clock.advance(PERIOD_S)
    told.faults.note("stream_closed", "late", "ipv4:192.0.2.3:1")
    lines = told.lines()
    assert [line["peer"] for line in lines] == ["192.0.2.0/24"] * LINES_A_PERIOD + ["2001:db8::/48", "192.0.2.0/24"]
    assert lines[-1]["count"] == 1000 - LINES_A_PERIOD + 1
    assert told.count("stream_closed") == 1001


def test_however_many_networks_there_are_few_are_remembered() -> None:
    told = Told()
    for index in range(1000):
        told.faults.note("stream_closed", "late", f"ipv4:10.{index // 250}.{index % 250}.1:1")
    assert repr(told.faults) == "<ProtocolFaults of 256 networks>"
    assert len(told.lines()) == 1000
