# SPDX-License-Identifier: Apache-2.0
"""Writes the Grafana dashboard to standard output; `make dashboard` keeps it where Kubernetes and compose take it.

What is shown stands in `ROWS`; everything else is how Grafana wants to be told (schema version 41).
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

_WIDTH, _HEIGHT, _ROW_WIDTH = 8, 8, 24


class Panel(NamedTuple):
    """One graph: its queries by legend."""

    title: str
    unit: str
    queries: dict[str, str]
    description: str = ""


ROWS: dict[str, tuple[Panel, ...]] = {
    "What callers get": (
        Panel(
            "Images by outcome",
            "ops",
            {"{{outcome}}": "sum by (outcome) (rate(matting_images_total{$match}[$__rate_interval]))"},
            "ok: in time. late: after the deadline. dropped: the deadline could not be met. rejected: refused.",
        ),
        Panel(
            "Goodput",
            "percentunit",
            {
                "answered in time": 'sum(rate(matting_images_total{$match,outcome="ok"}[$__rate_interval])) / '
                'sum(rate(matting_images_total{$match,outcome=~"ok|late|dropped|error"}[$__rate_interval]))'
            },
            "Of the images that were let in, the share that was answered before its deadline.",
        ),
        Panel(
            "Calls by status",
            "reqps",
            {
                "{{grpc_code}}": "sum by (grpc_code) (rate(grpc_server_handled_total"
                '{$match,grpc_service!~"grpc.*"}[$__rate_interval]))'
            },
        ),
        Panel(
            "Time of a call",
            "s",
            {
                "p50": "histogram_quantile(0.5, sum by (le) (rate(grpc_server_handling_seconds_bucket"
                '{$match,grpc_service!~"grpc.*"}[$__rate_interval])))',
                "p95": "histogram_quantile(0.95, sum by (le) (rate(grpc_server_handling_seconds_bucket"
                '{$match,grpc_service!~"grpc.*"}[$__rate_interval])))',
                "p99": "histogram_quantile(0.99, sum by (le) (rate(grpc_server_handling_seconds_bucket"
                '{$match,grpc_service!~"grpc.*"}[$__rate_interval])))',
            },
        ),
        Panel(
            "Refused or given up, by reason",
            "ops",
            {"{{reason}}": "sum by (reason) (rate(matting_dropped_total{$match}[$__rate_interval]))"},
        ),
        Panel(
            "Images by tenant",
            "ops",
            {"{{tenant}}": "sum by (tenant) (rate(matting_images_total{$match}[$__rate_interval]))"},
        ),
    ),
    "Where the time goes": (
        Panel(
            "Stages of a photo, p95",
            "s",
            {
                "{{stage}}": "histogram_quantile(0.95, sum by (le, stage) "
                "(rate(matting_stage_seconds_bucket{$match}[$__rate_interval])))"
            },
        ),
        Panel(
            "Waiting for a batch, p95",
            "s",
            {
                "{{model}}": "histogram_quantile(0.95, sum by (le, model) "
                "(rate(matting_queue_wait_seconds_bucket{$match}[$__rate_interval])))"
            },
        ),
        Panel(
            "A batch on its Triton, p95",
            "s",
            {
                "{{backend}}": "histogram_quantile(0.95, sum by (le, backend) "
                "(rate(matting_backend_seconds_bucket{$match}[$__rate_interval])))"
            },
        ),
    ),
    "Batches and Tritons": (
        Panel(
            "Rows in a batch",
            "short",
            {
                "{{model}}": "sum by (model) (rate(matting_batch_size_sum{$match}[$__rate_interval])) / "
                "sum by (model) (rate(matting_batch_size_count{$match}[$__rate_interval]))"
            },
        ),
        Panel(
            "Offered over possible",
            "percentunit",
            {"{{instance}}": "matting_utilization{$match}"},
            "1.0 is as much as the Tritons can do; refused calls count. The figure to scale by.",
        ),
        Panel("Jobs waiting", "short", {"{{instance}}": "matting_queue_depth{$match}"}),
        Panel("Batches in flight", "short", {"{{backend}}": "sum by (backend) (matting_backend_inflight{$match})"}),
        Panel("Tritons that answer", "short", {"{{backend}}": "min by (backend) (matting_backend_up{$match})"}),
        Panel(
            "Copies of models, by what serves them",
            "short",
            {
                "{{model}} {{engine}} {{device}} {{precision}}": "sum by (model, engine, device, precision) "
                "(matting_model_instances{$match})"
            },
        ),
    ),
    "The process": (
        Panel("Ready", "short", {"{{instance}} {{state}}": "matting_lifecycle{$match} == 1"}),
        Panel("Images held", "short", {"{{instance}}": "matting_resident_images{$match}"}),
        Panel(
            "Memory for images",
            "bytes",
            {
                "{{instance}} reserved": "matting_resident_bytes{$match}",
                "{{instance}} budget": "matting_memory_budget_bytes{$match}",
            },
        ),
        Panel("Connections", "short", {"{{instance}}": "matting_connections{$match}"}),
        Panel(
            "Days until a certificate expires",
            "d",
            {"{{file}}": "(min by (file) (matting_certificate_expiry_timestamp_seconds{$match}) - time()) / 86400"},
        ),
        Panel(
            "How long images are held, p99",
            "s",
            {
                "held": "histogram_quantile(0.99, sum by (le) "
                "(rate(matting_image_residency_seconds_bucket{$match}[$__rate_interval])))"
            },
        ),
        Panel(
            "Imaging workers",
            "short",
            {
                "{{instance}} there are": "matting_imaging_workers{$match}",
                "{{instance}} {{state}}": "matting_imaging_steps{$match}",
            },
            "Steps of photos that are worked on, and those that wait for a worker: decoding, and making results.",
        ),
        Panel(
            "Imaging workers killed",
            "short",
            {"{{instance}}": "increase(matting_imaging_workers_killed_total{$match}[$__rate_interval])"},
            "They took too long, or ended otherwise; each is replaced, and its photo's caller is told.",
        ),
        Panel("Memory resident", "bytes", {"{{instance}}": "process_resident_memory_bytes{$match}"}),
        Panel(
            "Spans of traces",
            "ops",
            {
                "sent": "sum(rate(matting_trace_spans_sent_total{$match}[$__rate_interval]))",
                "dropped: {{reason}}": "sum by (reason) (rate(matting_trace_spans_dropped_total{$match}"
                "[$__rate_interval]))",
            },
            "queue_full: the collector takes fewer than there are, or none. refused: it does not want them. "
            "unreachable: it was away when a gateway stopped.",
        ),
        Panel(
            "Processor",
            "percentunit",
            {"{{instance}}": "rate(process_cpu_seconds_total{$match}[$__rate_interval])"},
        ),
    ),
}

_MATCH = 'job=~"$job",instance=~"$instance"'


def panels() -> Iterator[dict[str, Any]]:
    """Yield rows and panels as Grafana lays them out."""
    y = 0
    number = 0
    for title, row in ROWS.items():
        number += 1
        place = {"x": 0, "y": y, "w": _ROW_WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        y += 1
        for index, panel in enumerate(row):
            number += 1
            column, line = index % (_ROW_WIDTH // _WIDTH), index // (_ROW_WIDTH // _WIDTH)
            place = {"x": column * _WIDTH, "y": y + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            yield _panel(number, panel, place)
        y += -(-len(row) // (_ROW_WIDTH // _WIDTH)) * _HEIGHT


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 10}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": source,
                "expr": expression.replace("$match", _MATCH),
                "legendFormat": legend,
            }
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    return {
        "uid": "matting-gateway",
        "title": "Matting gateway",
        "tags": ["matting"],
        "schemaVersion": 41,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Source"},
                _variable("job", "label_values(matting_lifecycle, job)"),
                _variable("instance", 'label_values(matting_lifecycle{job=~"$job"}, instance)'),
            ]
        },
        "panels": list(panels()),
    }


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
