# SPDX-License-Identifier: Apache-2.0
import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from matting_gateway.telemetry.logs import CALL_FIELDS, CallRecord, Event, Logs
from testkit.manual_clock import ManualClock

RECORD = CallRecord(
    method="/matting.v1.MattingService/RemoveBackground",
    code="OK",
    reason="",
    tenant="shop",
    model="u2net",
    size_bucket="2-4MP",
    peer="192.0.2.0/24",
    request_id="abc",
    duration_s=0.123456789,
)


class Log:
    """A log that writes to memory."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logs = Logs(self.stream, clock=ManualClock())
        self.logs.start()

    def lines(self) -> list[dict[str, Any]]:
        self.logs.close()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.logs.close()


def test_a_call_is_one_line_of_exactly_the_fields_stated(log: Log) -> None:
    log.logs.call(RECORD)
    (line,) = log.lines()
    assert set(line) == set(CALL_FIELDS)
    assert line["time"] == "2023-11-14T22:13:20.000+00:00"
    assert line["event"] == "call"
    assert line["duration_s"] == 0.1235


def test_a_call_record_has_no_room_for_content() -> None:
    assert set(CallRecord.__annotations__.values()) == {str, float}


def test_an_event_is_one_line(log: Log) -> None:
    log.logs.event(Event.BACKEND_DOWN, backend="a:1", detail="gone")
    assert log.lines() == [
        {"time": "2023-11-14T22:13:20.000+00:00", "event": "backend_down", "backend": "a:1", "detail": "gone"}
    ]


def test_an_event_takes_no_field_that_is_not_listed(log: Log) -> None:
    with pytest.raises(TypeError, match="no log line has the field content".capitalize()):
        log.logs.event(Event.STARTED, content="x")


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("OK", "info"),
        ("CANCELLED", "info"),
        ("INVALID_ARGUMENT", "info"),
        ("RESOURCE_EXHAUSTED", "warning"),
        ("UNAVAILABLE", "warning"),
        ("DEADLINE_EXCEEDED", "warning"),
        ("INTERNAL", "error"),
        ("UNKNOWN", "error"),
    ],
)
def test_a_call_has_the_level_of_how_it_ended(log: Log, code: str, level: str) -> None:
    log.logs.call(RECORD._replace(code=code))
    assert log.lines()[0]["level"] == level


def test_as_text_a_line_is_for_people_and_can_do_nothing_to_a_terminal() -> None:
    stream = io.StringIO()
    logs = Logs(stream, clock=ManualClock(), as_text=True)
    logs.start()
    logs.call(RECORD)
    logs.event(Event.NOT_READY, level="warning", backend="a:1", cause='two words\n\x1b[31m "x"', model="")
    logs.close()
    call, event = stream.getvalue().splitlines()
    assert call == (
        "2023-11-14T22:13:20.000+00:00 info    call method=/matting.v1.MattingService/RemoveBackground code=OK"
        " tenant=shop model=u2net size_bucket=2-4MP peer=192.0.2.0/24 request_id=abc duration_s=0.1235"
    )
    assert event == (
        '2023-11-14T22:13:20.000+00:00 warning not_ready backend=a:1 cause="two words\\n\\u001b[31m \\"x\\""'
    )


def test_the_cause_of_what_does_not_come_up_is_whole(log: Log) -> None:
    log.logs.event(Event.NOT_READY, cause="x" * 5000)
    assert len(log.lines()[0]["cause"]) == 5000


def test_long_text_is_cut(log: Log) -> None:
    log.logs.event(Event.STARTED, detail="x" * 10_000)
    assert len(log.lines()[0]["detail"]) == 400


def test_an_unforeseen_exception_shows_its_type_and_place_and_not_its_text(log: Log) -> None:
    try:
        fail("b'\\x89PNG the photo'")
    except ValueError as exc:
        log.logs.unexpected(exc, "id-1")
    (line,) = log.lines()
    assert line["error_type"] == "ValueError"
    assert line["where"].startswith("test_logs.py:")
    assert "photo" not in json.dumps(line)


def test_what_libraries_log_loses_its_text(log: Log) -> None:
    with log.logs.capture_libraries():
        logging.getLogger("some.library").warning("photo %s", b"secret")
        logging.getLogger("some.library").info("not worth a line")
        try:
            fail("secret")
        except ValueError:
            logging.getLogger("other").exception("secret")
    first, second = log.lines()
    assert (first["logger"], first["level"], first["error_type"]) == ("some.library", "warning", "")
    assert (second["logger"], second["level"], second["error_type"]) == ("other", "error", "ValueError")
    assert "secret" not in json.dumps([first, second])


def test_capturing_puts_the_handlers_back(log: Log) -> None:
    before = logging.getLogger().handlers[:]
    with log.logs.capture_libraries():
        assert logging.getLogger().handlers != before
    assert logging.getLogger().handlers == before


def test_lines_stay_in_order_from_one_thread(log: Log) -> None:
    for i in range(500):
        log.logs.event(Event.STARTED, count=i)
    assert [line["count"] for line in log.lines()] == list(range(500))
    assert log.logs.statistics().written_count == 500


def test_a_reader_that_stands_still_costs_lines_and_never_time() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader) as read_end:
        logs = Logs(stream, clock=ManualClock())
        logs.start()
        for _ in range(12_000):
            logs.event(Event.STARTED, detail="x" * 300)  # 4 MB into a pipe of 64 KiB: must not block
        lost_count = logs.statistics().lost_count
        assert lost_count > 0
        lines: list[str] = []
        drain = threading.Thread(target=lambda: lines.extend(iter(read_end.readline, "")))
        drain.start()
        logs.close()
        stream.close()
        drain.join()
    told = [json.loads(line) for line in lines if Event.LINES_LOST.value in line]
    # One line tells of all that were lost since the last line taken, and the pipe takes some before it is full.
    assert sum(line["count"] for line in told) == lost_count
    assert len(lines) == 12_000 - lost_count + len(told)


def test_a_reader_that_went_away_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    logs = Logs(stream, clock=ManualClock())
    logs.start()
    logs.event(Event.STARTED)
    logs.close()
    assert logs.statistics().lost_count == 1
