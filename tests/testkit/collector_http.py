# SPDX-License-Identifier: Apache-2.0
"""The other door of a collector, as Triton needs it: OTLP over HTTP, in JSON."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from testkit.collector import FakeCollector
from testkit.listening import server_of

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


@asynccontextmanager
async def http_door(collector: FakeCollector) -> AsyncIterator[str]:
    """Take spans over HTTP for a collector within the block; yields where to."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
        (length,) = (line.partition(":")[2] for line in head.splitlines() if line.startswith("content-length:"))
        body = json.loads(await reader.readexactly(int(length)))
        await collector.take(ParseDict(_with_ids_as_protobuf_has_them(body), ExportTraceServiceRequest()))
        writer.write(_ANSWER)
        await writer.drain()

    async with server_of(take) as address:
        yield f"http://{address}/v1/traces"


def _with_ids_as_protobuf_has_them(value: Any) -> Any:
    """Return OTLP's JSON, whose ids are hexadecimal digits, as protobuf's, where bytes are base64."""
    if isinstance(value, list):
        return [_with_ids_as_protobuf_has_them(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: b64encode(bytes.fromhex(one)).decode() if key in _IDS else _with_ids_as_protobuf_has_them(one)
        for key, one in value.items()
    }
