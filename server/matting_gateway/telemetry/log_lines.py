# SPDX-License-Identifier: Apache-2.0
"""What is written of a call, and log lines as text."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

Value = str | int | float | bool

_LEVEL_WIDTH = len("warning")
# Codes that somebody should look at: the gateway's own fault, or more than it could do. The others are the callers'.
_LEVELS = {
    **dict.fromkeys(("INTERNAL", "UNKNOWN", "DATA_LOSS"), "error"),
    **dict.fromkeys(("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"), "warning"),
}
_RENDER = json.JSONEncoder().encode


class LogFormat(Enum):
    """How lines are written; AUTO: as text where a person reads them on a terminal, else as JSON."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class CallRecord(NamedTuple):
    """What is written of one call.

    `peer` is shortened (`short_peer`), `size_bucket` a bucket (`pixel_bucket`), `request_id` says
    nothing (`clean_request_id`); `reason` is "" for a call that succeeded, `trace_id` for one that is not traced.
    """

    method: str
    code: str
    reason: str
    tenant: str
    model: str
    size_bucket: str
    peer: str
    request_id: str
    duration_s: float
    queue_s: float = 0.0
    inference_s: float = 0.0
    trace_id: str = ""

    @property
    def level(self) -> str:
        """How much its line should be looked at: info, warning or error."""
        return _LEVELS.get(self.code, "info")


_TEXT_COUNT = CallRecord._fields.index("request_id")
CALL_FIELDS: tuple[str, ...] = ("time", "event", "level", *CallRecord._fields)


def line_of(wall_s: float, event: str, values: Mapping[str, Value] | CallRecord) -> str:
    """Return the line of a call or of another event, its end included."""
    if isinstance(values, CallRecord):
        return (
            f'{{"time": "{_time(wall_s)}", "event": "{event}", "level": "{values.level}",'
            f" {_texts(*values[:_TEXT_COUNT])},"
            f' "request_id": {_RENDER(values.request_id)}, "duration_s": {round(values.duration_s, 4)!r},'
            f' "queue_s": {round(values.queue_s, 4)!r}, "inference_s": {round(values.inference_s, 4)!r},'
            f' "trace_id": "{values.trace_id}"}}\n'
        )
    return _RENDER({"time": _time(wall_s), "event": event, **values}) + "\n"


def text_line_of(wall_s: float, event: str, values: Mapping[str, Value] | CallRecord) -> str:
    """Return the same line for people to read, its end included; what is empty is left out."""
    fields = values._asdict() if isinstance(values, CallRecord) else dict(values)
    level = values.level if isinstance(values, CallRecord) else str(fields.pop("level", "info"))
    told = " ".join(f"{name}={_plain(value)}" for name, value in fields.items() if value not in ("", 0.0))
    return f"{_time(wall_s)} {level:<{_LEVEL_WIDTH}} {event} {told}".rstrip() + "\n"


def _plain(value: Value) -> str:
    if isinstance(value, float):
        return str(round(value, 4))
    text = str(value)
    # In quotes where it would not be seen where it ends, or could do something to a terminal.
    return text if text.isascii() and text.isprintable() and not {*' "='} & {*text} else _RENDER(text)


@lru_cache(maxsize=1024)
def _texts(*values: str) -> str:
    """Return the fields of a call that are the same for many."""
    return _RENDER(dict(zip(CallRecord._fields, values, strict=False)))[1:-1]


def _time(wall_s: float) -> str:
    whole_s = int(wall_s)
    return f"{_second(whole_s)}.{int((wall_s - whole_s) * 1000):03d}+00:00"


@lru_cache(maxsize=4)
def _second(whole_s: int) -> str:
    return datetime.fromtimestamp(whole_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
