# SPDX-License-Identifier: Apache-2.0
"""Every series of the gateway, declared once, on a registry that is passed in."""

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Gauge,
)

from matting_gateway.telemetry.series import Counter, Histogram, ReadCounter

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def process_registry() -> CollectorRegistry:
    """Return a registry that holds what is known of the process itself: memory, CPU time, Python."""
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


class Metrics:
    """The gateway's series. Labels are closed sets or names from the configuration: nothing of a photo fits in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.rpc_started = Counter(
            "grpc_server_started", "Calls started.", ("grpc_type", "grpc_service", "grpc_method"), registry=registry
        )
        self.rpc_handled = Counter(
            "grpc_server_handled",
            "Calls completed, by code.",
            ("grpc_type", "grpc_service", "grpc_method", "grpc_code"),
            registry=registry,
        )
        self.rpc_seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the arrival of a call to its end.",
            ("grpc_type", "grpc_service", "grpc_method"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "matting_images",
            "Images (rows of tensors included), by outcome: ok, late, dropped, rejected, cancelled, error.",
            ("model", "outcome", "tenant"),
            registry=registry,
        )
        self.batch_size = Histogram(
            "matting_batch_size", "Rows in a batch sent.", ("model",), buckets=_BATCH_SIZES, registry=registry
        )
        self.queue_wait_seconds = Histogram(
            "matting_queue_wait_seconds",
            "Time from being ready for the model to being sent.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "matting_stage_seconds",
            "Time of one stage of a photo: receive, inspect, decode, queue, inference, render, respond.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.backend_seconds = Histogram(
            "matting_backend_seconds",
            "Time from sending a batch to its answer.",
            ("backend",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.backend_up = Gauge("matting_backend_up", "1 while the backend serves.", ("backend",), registry=registry)
        self.backend_inflight = Gauge(
            "matting_backend_inflight", "Batches in flight on the backend.", ("backend",), registry=registry
        )
        self.model_instances = Gauge(
            "matting_model_instances",
            "Copies of a model that run on a backend, by what really serves them where the backend tells.",
            ("backend", "model", "engine", "device", "precision"),
            registry=registry,
        )
        self.queue_depth = Gauge("matting_queue_depth", "Jobs waiting for a backend.", registry=registry)
        self.utilization = Gauge(
            "matting_utilization",
            "What was offered during the last second over what Tritons and workers can do, refused calls included.",
            registry=registry,
        )
        self.dropped = Counter(
            "matting_dropped", "Work given up without an answer in time, by reason.", ("reason",), registry=registry
        )
        refused_bytes = Counter(
            "matting_refused_bytes",
            "Bytes received of calls that were refused before they were let in.",
            (),
            registry=registry,
        )
        self.refused_bytes = refused_bytes.labels()
        self.resident_images = Gauge("matting_resident_images", "Images held now.", registry=registry)
        self.resident_bytes = Gauge("matting_resident_bytes", "Bytes reserved for images held now.", registry=registry)
        residency_seconds = Histogram(
            "matting_image_residency_seconds", "How long an image was held.", buckets=_SECONDS, registry=registry
        )
        self.residency_seconds = residency_seconds.labels()
        self.connections = Gauge("matting_connections", "Callers' connections that are open.", registry=registry)
        self.protocol_faults = Counter(
            "matting_protocol_faults", "What callers did that HTTP/2 forbids, by kind.", ("kind",), registry=registry
        )
        self.imaging_workers = Gauge(
            "matting_imaging_workers", "Imaging workers that there are to be.", registry=registry
        )
        self.imaging_steps = Gauge(
            "matting_imaging_steps",
            "Steps of photos that an imaging worker does, or that wait for one.",
            ("state",),
            registry=registry,
        )
        self.imaging_workers_killed = ReadCounter(
            "matting_imaging_workers_killed",
            "Imaging workers that were killed, as they took too long, or ended otherwise, and were replaced.",
            registry=registry,
        )
        self.memory_budget = Gauge("matting_memory_budget_bytes", "Memory for all calls together.", registry=registry)
        self.memory_available = Gauge(
            "matting_memory_available_bytes", "What of the memory for calls is not reserved now.", registry=registry
        )
        self.certificate_expiry = Gauge(
            "matting_certificate_expiry_timestamp_seconds",
            "When the first of a file's certificates expires, in seconds since 1970.",
            ("file",),
            registry=registry,
        )
        self.trace_spans_sent = Counter(
            "matting_trace_spans_sent", "Spans that the collector took.", (), registry=registry
        )
        self.trace_spans_dropped = Counter(
            "matting_trace_spans_dropped",
            "Spans that the collector did not get, by reason: queue_full, refused, unreachable.",
            ("reason",),
            registry=registry,
        )
        self.build_info = Gauge("matting_build_info", "1, by what runs.", ("version", "python"), registry=registry)
        self.lifecycle = Gauge(
            "matting_lifecycle", "1 for the state the gateway is in; serving: ready.", ("state",), registry=registry
        )
