# SPDX-License-Identifier: Apache-2.0
"""Promises about traces: a collector of the proof's own, and what of a photo is in the spans that it gets."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from matting_gateway.tracing.settings import missing_packages
from testkit.memory_scan import Canary, hits_in

from privacy_proof.findings import Finding, finding

_EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
_PATIENCE_S = 30.0


class Spans:
    """A collector. Owns what came, as it came; thread-safe."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._requests: list[bytes] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(1))
        export: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self._export
        )  # bytes: an empty answer is one that took all
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_EXPORT, {"Export": export}),))
        self._address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """What has a gateway send all of its traces here."""
        return ("--otlp-endpoint", self._address)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def findings(self, canary: Canary) -> Iterator[Finding]:
        """Look for the canary, and for names that are on no list, in the spans of calls that have ended."""
        from matting_gateway.tracing.otlp import SPAN_ATTRIBUTES  # noqa: PLC0415 - only where it is installed
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: PLC0415

        with self._news:
            self._news.wait_for(lambda: any(b"RemoveBackground" in request for request in self._requests), _PATIENCE_S)
            content = b"".join(self._requests)
        message = trace_service_pb2.ExportTraceServiceRequest.FromString(content)
        spans = [s for of in message.resource_spans for scope in of.scope_spans for s in scope.spans]
        names = {attribute.key for span in spans for attribute in span.attributes}
        photos = sum(span.name.endswith("RemoveBackground") for span in spans)
        stray = names - SPAN_ATTRIBUTES
        yield finding(
            "spans of listed attributes only",
            f"{len(spans)} spans, {photos} of photos, other attributes: {sorted(stray) or 'none'}",
            kept=photos > 0 and not stray,
        )
        hits = hits_in(content, canary)
        yield finding("no content in the traces", f"{len(content)} bytes, {hits} pieces", kept=photos > 0 and not hits)

    def _export(self, request: bytes, _context: Any) -> bytes:
        with self._news:
            self._requests.append(request)
            self._news.notify_all()
        return b""


@contextmanager
def collected_spans() -> Iterator[Spans | None]:
    """Collect spans within the block; None where OpenTelemetry is not installed, as no gateway sends any then."""
    if missing_packages():
        yield None
        return
    spans = Spans()
    spans.start()
    try:
        yield spans
    finally:
        spans.stop()
