# SPDX-License-Identifier: Apache-2.0
"""Each change of readiness is told once, to log, gauge and health alike."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from matting_gateway.domain.lifecycle import Lifecycle
from matting_gateway.readiness import BackendView, ServingState, readiness
from matting_gateway.rpc.serving.readiness_report import ReadinessReport
from matting_gateway.telemetry.logs import Logs
from matting_gateway.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry
from testkit.manual_clock import ManualClock

UP = BackendView("a:1", healthy=True, seen="up", models=frozenset({"u2net"}))
DOWN = BackendView("a:1", healthy=False, seen="connection refused", advice="start it")
STARTING = replace(DOWN, starting=True)


class Told:
    """A report, and everything that it tells."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._logs = Logs(self._stream, clock=ManualClock())
        self._logs.start()
        self.metrics = Metrics(CollectorRegistry())
        self.health: list[tuple[bool, dict[str, bool]]] = []
        self._report = ReadinessReport(
            health=lambda: self._update, logs=self._logs, metrics=self.metrics, default_model="u2net"
        )

    def _update(self, *, serving: bool, models: Mapping[str, bool]) -> None:
        self.health.append((serving, dict(models)))

    def tell(self, *backends: BackendView, lifecycle: Lifecycle = Lifecycle.SERVING) -> None:
        self._report.tell(readiness(lifecycle, backends, "u2net"), backends)

    def state(self) -> list[str]:
        values = {
            state.value: self.metrics.registry.get_sample_value("matting_lifecycle", {"state": state.value})
            for state in ServingState
        }
        return [name for name, value in values.items() if value]

    def lines(self) -> list[dict[str, Any]]:
        self._logs.close()
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


def test_what_does_not_change_is_told_once() -> None:
    told = Told()
    for _ in range(3):
        told.tell(DOWN)
    assert told.events() == ["backend_down", "not_ready"]


def test_every_change_is_told_and_gauge_and_health_say_the_same() -> None:
    told = Told()
    for views, state in (((UP,), "serving"), ((DOWN,), "not_ready"), ((UP,), "serving")):
        told.tell(*views)
        assert told.state() == [state]
        assert told.health[-1][0] is (state == "serving")
    told.tell(UP, lifecycle=Lifecycle.DRAINING)
    assert told.state() == ["draining"]
    assert told.health[-1] == (False, {"u2net": False})
    assert told.events() == ["backend_up", "serving", "backend_down", "not_ready", "backend_up", "serving", "draining"]


def test_another_trouble_is_told_as_a_change() -> None:
    told = Told()
    told.tell(DOWN)
    told.tell(replace(DOWN, seen="nothing answers within 1 s"))
    assert [line.get("cause") for line in told.lines() if line["event"] == "not_ready"] == [
        "connection refused",
        "nothing answers within 1 s",
    ]


def test_a_triton_of_our_own_that_starts_is_not_told_as_one_that_is_down() -> None:
    told = Told()
    told.tell(STARTING)
    told.tell(UP)
    told.tell(STARTING)
    assert told.events() == ["not_ready", "backend_up", "serving", "backend_down", "not_ready"]


def test_one_backend_of_two_is_told_and_the_gateway_serves_on() -> None:
    told = Told()
    other = replace(UP, address="b:2")
    told.tell(UP, other)
    told.tell(DOWN, other)
    assert told.state() == ["serving"]
    assert told.events() == ["backend_up", "backend_up", "serving", "backend_down"]


def test_before_a_backend_was_looked_at_nothing_is_told() -> None:
    told = Told()
    told.tell(BackendView("a:1", healthy=False))
    assert told.state() == ["starting"]
    assert told.events() == []


def test_credentials_that_are_refused_are_told_once_and_again_after_others_worked() -> None:
    told = Told()
    for problem in ("", "refused", "refused", "", "refused"):
        told.tell(replace(UP, credentials_refused=problem))
    assert told.events().count("credentials_refused") == 2


def test_a_gpu_that_is_not_used_is_told_once() -> None:
    told = Told()
    for _ in range(2):
        told.tell(replace(UP, on_cpu_instead=frozenset({"u2net"})))
    assert told.events() == ["backend_up", "gpu_unused", "not_ready"]
