# SPDX-License-Identifier: Apache-2.0
"""Promises about what is written down: log lines, metrics, error texts, shared memory, core files."""

import ipaddress
import re
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from matting_gateway.telemetry.logs import CALL_FIELDS, EVENT_FIELDS
from matting_triton.logs import KNOWN_WORDS
from prometheus_client.parser import text_string_to_metric_families
from testkit.memory_scan import Canary, hits_in

from privacy_proof.findings import Finding, finding, not_shown
from privacy_proof.memory import MemoryReport
from privacy_proof.service import Service

_SHARED_MEMORY = Path("/dev/shm")
# Names of the configuration, of the code, or of closed sets; nothing of a photo fits in.
_LABELS = frozenset(
    {"model", "outcome", "tenant", "stage", "backend", "reason", "state", "le", "generation"}
    | {"engine", "device", "precision", "file", "python", "kind"}
    | {"grpc_type", "grpc_service", "grpc_method", "grpc_code"}
    | {"implementation", "major", "minor", "patchlevel", "version"}
)
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b(?!/)")


def places(service: Service, report: MemoryReport) -> Iterator[Finding]:
    """Look for the canary wherever something is written down, after the load has ended."""
    yield from _logs(service, report.canary)
    yield from _metrics(service, report.canary)
    texts = "\n".join(report.texts).encode("utf-8", "replace")
    hits = hits_in(texts, report.canary)
    yield finding("error texts hold no content", f"{len(report.texts)} texts, {hits} pieces", kept=not hits)
    yield _shared_memory(report.canary)
    cores = [path.name for path in Path.cwd().glob("core*") if path.is_file()]
    yield finding("no core file", f"{len(cores)} in {Path.cwd()}", kept=not cores)


def _logs(service: Service, canary: Canary) -> Iterator[Finding]:
    if service.output is None:
        yield not_shown("log lines of listed fields only", "the log is not here; start the gateway from the proof")
        return
    events = service.output.events()
    calls = [event for event in events if event.get("event") == "call"]
    stray = {name for event in calls for name in event.keys() ^ set(CALL_FIELDS)}
    allowed = EVENT_FIELDS | {"time", "event"}
    stray |= {name for event in events if event.get("event") != "call" for name in event if name not in allowed}
    yield finding(
        "log lines of listed fields only",
        f"{len(events)} lines, other fields: {sorted(stray) or 'none'}",
        kept=not stray,
    )
    yield _tritons_words(events)
    full = [event["peer"] for event in calls if not _shortened(event["peer"])]
    yield finding("callers' addresses shortened", f"{len(calls)} call lines, {len(full)} in full", kept=not full)
    hits = hits_in(service.output.text().encode("utf-8", "replace"), canary)
    yield finding("no content in the log", f"{len(service.output.text())} characters, {hits} pieces", kept=not hits)


def _tritons_words(events: Sequence[Mapping[str, Any]]) -> Finding:
    """What the own Triton says is told in its words only from before it opened its port, so that they hold no tensor.

    It is known from Triton's own source (main.cc of 2.51): it loads every model, lists its options, and then opens its
    ports. The gateway drops the words of all lines from the options on, but for those which always read the same.
    """
    served = next((number for number, event in enumerate(events) if event["event"] == "backend_up"), len(events))
    late = [event for event in events[served:] if event["event"] == "triton_says" and event.get("cause")]
    constant = {word for event in late for word in KNOWN_WORDS if event["cause"].endswith(word)}
    stray = len([event for event in late if not any(event["cause"].endswith(word) for word in KNOWN_WORDS)])
    measured = f"{len(late)} lines with words after that, {stray} of other words than the {len(constant)} constant ones"
    return finding("the own Triton's words only from before it could be reached", measured, kept=not stray)


def _shortened(peer: str) -> bool:
    if peer in {"unix", "unknown"}:
        return True
    network = ipaddress.ip_network(peer)
    return network.prefixlen <= (24 if network.version == 4 else 48)


def _metrics(service: Service, canary: Canary) -> Iterator[Finding]:
    request = urllib.request.Request(
        service.metrics_url, headers={key.title(): value for key, value in service.metadata}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    stray = {label for sample in samples for label in sample.labels} - _LABELS
    yield finding(
        "metrics of listed labels only",
        f"{len(samples)} series, other labels: {sorted(stray) or 'none'}",
        kept=not stray,
    )
    hits = hits_in(text.encode(), canary)
    yield finding("no content in the metrics", f"{len(text)} characters, {hits} pieces", kept=not hits)
    resident = {s.name: s.value for s in samples if s.name in {"matting_resident_images", "matting_resident_bytes"}}
    yield finding("nothing held after the last answer", f"{resident}", kept=not any(resident.values()))


def _shared_memory(canary: Canary) -> Finding:
    names, hits = [], 0
    for path in _SHARED_MEMORY.rglob("*"):
        # What others there remove meanwhile holds nothing any more.
        with suppress(FileNotFoundError):
            if path.is_file():
                hits += hits_in(path.read_bytes(), canary)
                names.append(path.name)
    return finding("no content in /dev/shm", f"{len(names)} entries, {hits} pieces", kept=not hits)
