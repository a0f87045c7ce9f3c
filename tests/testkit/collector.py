# SPDX-License-Identifier: Apache-2.0
"""An OpenTelemetry collector on a real socket: it keeps the spans it gets, and can be told to misbehave."""

# gRPC's classes are generic to the type checker only.
from __future__ import annotations

import asyncio
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from testkit.fake_server import FakeServer


class FakeCollector(FakeServer):
    """The server. `spans` are those that came, `resource` what they are of.

    `refuses` is the code that it answers with instead of taking spans; while it `hangs` it does not answer.
    With `credentials` it speaks TLS.
    """

    def __init__(self, *, credentials: grpc.ServerCredentials | None = None) -> None:
        super().__init__(credentials)
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        self.refuses: grpc.StatusCode | None = None
        self.hangs = False
        self.asked_count = 0
        self.arrived = asyncio.Condition()

    def _serve(self, server: grpc.aio.Server) -> None:
        export: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._export,
            trace_service_pb2.ExportTraceServiceRequest.FromString,
            lambda answer: answer.SerializeToString(),
        )
        service = trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": export}),))

    async def _export(self, request: Any, context: Any) -> Any:
        async with self.arrived:
            self.asked_count += 1
            self.arrived.notify_all()
        if not self.hangs and self.refuses is None:
            await self.take(request)
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses is not None:
            await context.abort(self.refuses, "")
        return trace_service_pb2.ExportTraceServiceResponse()

    async def take(self, request: Any) -> None:
        """Keep the spans of an ExportTraceServiceRequest."""
        async with self.arrived:
            for of_resource in request.resource_spans:
                self.resource |= {a.key: a.value.string_value for a in of_resource.resource.attributes}
                self.spans += [span for of_scope in of_resource.scope_spans for span in of_scope.spans]
            self.arrived.notify_all()

    async def asked(self, count: int = 1) -> None:
        """Wait until it was sent spans so often, whatever became of them."""
        async with asyncio.timeout(60), self.arrived:
            await self.arrived.wait_for(lambda: self.asked_count >= count)

    async def named(self, name: str, count: int = 1) -> list[Span]:
        """Return the spans of that name, as soon as there are so many."""

        def found() -> list[Span]:
            spans = [span for span in self.spans if span.name == name]
            return spans if len(spans) >= count else []

        async with asyncio.timeout(60), self.arrived:
            return await self.arrived.wait_for(found)

    def below(self, parent: Span) -> dict[str, Span]:
        """Return the spans whose parent it is, by name."""
        return {span.name: span for span in self.spans if span.parent_span_id == parent.span_id}


def attributes_of(span: Span) -> dict[str, str | int]:
    """Return what a span says."""
    return {
        a.key: a.value.int_value if a.value.HasField("int_value") else a.value.string_value for a in span.attributes
    }
