# SPDX-License-Identifier: Apache-2.0
"""The way of traces to a collector that takes them, refuses them, goes away, or does not answer."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from matting_gateway.clock import SystemClock
from matting_gateway.telemetry.logs import Logs
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.traces import Trace
from matting_gateway.tracing import exporter as module
from matting_gateway.tracing.exporter import CollectorError, Exporter
from prometheus_client import CollectorRegistry

PATIENCE_S = 30.0
BUNCH_S = 0.05


class Told:
    """A collector that does as a test tells it: `failures` come first; while it `hangs`, it waits to be closed."""

    address = "collector:4317"

    def __init__(
        self, *failures: Exception, hangs: bool = False, refused_count: int = 0, bug: Exception | None = None
    ) -> None:
        self.failures = list(failures)
        self.hangs = hangs
        self.refused_count = refused_count
        self.bug = bug
        self.bunches: list[int] = []
        self.asked = asyncio.Semaphore(0)
        self.closed = asyncio.Event()

    def written(self, traces: Sequence[Trace]) -> bytes:
        if self.bug is not None:
            raise self.bug
        return b"." * len(traces)

    async def send(self, pieces: Sequence[bytes], timeout_s: float) -> int:
        self.asked.release()
        if self.hangs:
            try:
                async with asyncio.timeout(timeout_s):
                    await self.closed.wait()
            except TimeoutError:
                raise CollectorError("DEADLINE_EXCEEDED", passing=True) from None
            raise CollectorError("UNAVAILABLE", passing=True)
        if self.failures:
            raise self.failures.pop(0)
        self.bunches.append(len(b"".join(pieces)))
        return self.refused_count

    async def close(self) -> None:
        self.closed.set()

    async def was_asked(self, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(count):
                await self.asked.acquire()


class Running:
    """An exporter, its collector and its figures."""

    def __init__(self, collector: Told, bunch_s: float) -> None:
        self.registry = CollectorRegistry()
        self.log = io.StringIO()
        self.collector = collector
        self.logs = Logs(self.log, clock=SystemClock())
        self.exporter = Exporter(
            collector, clock=SystemClock(), metrics=Metrics(self.registry), logs=self.logs, bunch_s=bunch_s
        )

    def put(self, count: int) -> None:
        for _ in range(count):
            Trace(self.exporter.put).end(1.0, 2.0)

    @property
    def sent(self) -> float:
        return self.registry.get_sample_value("matting_trace_spans_sent_total") or 0.0

    def dropped(self, reason: str) -> float:
        return self.registry.get_sample_value("matting_trace_spans_dropped_total", {"reason": reason}) or 0.0

    @property
    def lines(self) -> list[str]:
        return [line.split('"event": "')[1].split('"')[0] for line in self.log.getvalue().splitlines()]


@asynccontextmanager
async def running(collector: Told, bunch_s: float = BUNCH_S) -> AsyncIterator[Running]:
    made = Running(collector, bunch_s)
    made.logs.start()
    made.exporter.start()
    try:
        yield made
    finally:
        await made.exporter.close()
        await asyncio.to_thread(made.logs.close)


async def test_traces_are_sent_in_bunches() -> None:
    async with running(Told()) as made:
        made.put(3)
        await made.collector.was_asked()
    assert made.collector.bunches == [3]
    assert made.sent == 3


async def test_512_traces_are_sent_at_once() -> None:
    async with running(Told(), bunch_s=2 * PATIENCE_S) as made:
        made.put(512)
        await made.collector.was_asked()
        assert made.collector.bunches == [512]


async def test_what_waits_at_the_end_is_sent() -> None:
    async with running(Told()) as made:
        made.put(300)
    assert sum(made.collector.bunches) == 300


async def test_stages_are_spans_too() -> None:
    async with running(Told()) as made:
        trace = Trace(made.exporter.put)
        trace.stage("decode", 1.0, 2.0)
        trace.end(1.0, 2.0)
    assert made.sent == 2


async def test_more_than_there_is_room_for_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_PATIENCE_S", 0.01)
    async with running(Told(hangs=True)) as made:
        made.put(1)
        await made.collector.was_asked()
        made.put(5000)
        assert made.dropped("queue_full") >= 5000 - 2048
        assert repr(made.exporter) == "<Exporter to collector:4317, 2048 traces wait>"


async def test_closing_waits_for_a_collector_that_hangs_no_longer_than_its_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CLOSE_PATIENCE_S", 0.1)
    async with asyncio.timeout(PATIENCE_S), running(Told(hangs=True)) as made:
        made.put(2000)
        await made.collector.was_asked()
    assert made.dropped("unreachable") == 2000


async def test_a_collector_that_is_away_gets_the_traces_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
    away = CollectorError("UNAVAILABLE", passing=True)
    async with running(Told(away, away)) as made:
        made.put(3)
        await made.collector.was_asked(3)
    assert made.sent == 3
    assert made.lines == ["collector_down", "collector_up"]


async def test_what_is_refused_for_good_is_not_sent_again() -> None:
    async with running(Told(CollectorError("INVALID_ARGUMENT", passing=False))) as made:
        made.put(3)
        await made.collector.was_asked()
        made.put(2)
        await made.collector.was_asked()
    assert (made.dropped("refused"), made.sent) == (3, 2)


async def test_spans_that_a_collector_leaves_out_are_counted() -> None:
    async with running(Told(refused_count=1)) as made:
        made.put(3)
    assert (made.dropped("refused"), made.sent) == (1, 2)


async def test_a_bug_costs_its_bunch_and_not_the_next() -> None:
    async with running(Told(RuntimeError("a secret"))) as made:
        made.put(3)
        await made.collector.was_asked()
        made.put(2)
        await made.collector.was_asked()
    assert (made.dropped("refused"), made.sent) == (3, 2)
    assert "a secret" not in made.log.getvalue()


async def test_a_bug_in_writing_traces_costs_those_traces_and_no_call() -> None:
    async with running(Told(bug=RuntimeError("a secret"))) as made:
        made.put(32)
        made.collector.bug = None
        made.put(2)
        await made.collector.was_asked()
    assert made.collector.bunches == [2]
    assert (made.dropped("refused"), made.sent) == (32, 2)
    assert "a secret" not in made.log.getvalue()


async def test_a_bug_in_writing_the_last_of_them_does_not_end_the_exporter() -> None:
    async with running(Told(bug=RuntimeError("a secret"))) as made:
        made.put(2)
    assert (made.collector.bunches, made.dropped("refused")) == ([], 2)


async def test_what_is_noted_after_a_trace_was_written_is_sent_by_itself() -> None:
    async with running(Told()) as made:
        trace = Trace(made.exporter.put)
        trace.stage("receive", 1.0, 2.0)
        trace.end(1.0, 2.0)
        await made.collector.was_asked()
        trace.queued(1.0, 3.0)
    assert made.collector.bunches == [1, 1]
    assert made.sent == 3


async def test_what_is_noted_before_a_trace_was_written_goes_with_it() -> None:
    async with running(Told()) as made:
        trace = Trace(made.exporter.put)
        trace.end(1.0, 2.0)
        trace.queued(1.0, 3.0)
    assert made.collector.bunches == [1]
    assert made.sent == 2
