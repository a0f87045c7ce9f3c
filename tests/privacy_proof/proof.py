# SPDX-License-Identifier: Apache-2.0
"""The proofs put together: one service, one load, and everything that can be read off them."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from matting_gateway.clock import SystemClock
from testkit.memory_scan import ScanRefusedError

from privacy_proof import system_calls
from privacy_proof.findings import Finding, finding, not_shown
from privacy_proof.guards import Guards
from privacy_proof.memory import LeftOver, MemoryReport, run_canaries
from privacy_proof.network import interfaces
from privacy_proof.places import places
from privacy_proof.processes import processes
from privacy_proof.service import Service, started_service
from privacy_proof.traces import Spans, collected_spans

MAX_OPEN_BYTES = 64 << 10
# As many as the scan needs to see that photos stay behind when nothing is overwritten.
_UNPROTECTED_COUNT = 100


def prove(arguments: Sequence[str], *, count: int, tracing: bool = True) -> list[Finding]:
    """Start a gateway with TLS, tenants and a Triton of its own, and prove what can be proved of it."""
    findings = [_namespace()]
    tracing = tracing and shutil.which("strace") is not None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="privacy-proof-")))
        guards = Guards(folder)
        prefix = system_calls.command(folder) if tracing else ()
        spans = stack.enter_context(collected_spans())
        collecting = spans.arguments if spans is not None else ()
        service = replace(
            stack.enter_context(
                started_service(
                    *guards.arguments, *collecting, *arguments, prefix=prefix, credentials=guards.credentials
                )
            ),
            token=guards.token,
        )
        since_s = SystemClock().wall()
        findings += prove_service(service, count=count, spans=spans)
        findings += guards.findings(service)
        seen = system_calls.violations(folder, since_s=since_s)
        findings += _traces(seen, system_calls.call_count(folder)) if tracing else [_untraced()]
    with started_service("--no-scrub-memory", *arguments) as service:
        findings.append(_unprotected(asyncio.run(run_canaries(service, min(count, _UNPROTECTED_COUNT)))))
    return findings


def prove_service(service: Service, *, count: int, spans: Spans | None = None) -> list[Finding]:
    """Prove what can be proved of a gateway that runs already; of its traces, where they are collected here."""
    try:
        report = asyncio.run(run_canaries(service, count))
    except ScanRefusedError as exc:
        return [not_shown("no photo in memory a second after the last answer", str(exc)), *processes(service)]
    traces = spans.findings(report.canary) if spans is not None else ()
    return [*memory_findings(report), *places(service, report), *traces, *processes(service)]


def memory_findings(report: MemoryReport) -> Iterator[Finding]:
    """Judge what the scan found."""
    codes = ", ".join(f"{n} {code}" for code, n in report.codes.most_common())
    answered = report.codes["OK"] > 0
    yield finding("the load was served", codes, kept=answered)
    ended = sum(report.codes.values()) - report.codes["given up"]
    yield finding(
        "each call ends with a receipt, failed ones too",
        f"{report.receipt_count} of {ended} say released",
        kept=answered and not report.receipts_missing,
    )
    most_bytes = MAX_OPEN_BYTES * report.connection_count
    for left in report.closed:
        yield finding(
            f"connections closed: {left.process} ({left.pid})", _said(left), kept=not left.hit_count and answered
        )
    for left in report.open:
        promise = f"connections open: {left.process} ({left.pid})"
        yield finding(promise, _said(left), kept=left.about_bytes <= most_bytes and answered)


def _unprotected(report: MemoryReport) -> Finding:
    """The same scan finds photos where nothing is overwritten: what it does not find is not there."""
    hits = Counter[str]()
    for left in report.closed:
        for found in left.found:
            hits[found.kind] += found.hit_count
    about_bytes = sum(left.about_bytes for left in report.closed)
    measured = (
        f"about {about_bytes >> 10} KiB: {', '.join(f'{count} pieces of {kind}' for kind, count in hits.items())}"
    )
    return finding("protection off: the same scan finds photos", measured, kept=hits.total() > 0)


def _said(left: LeftOver) -> str:
    places_found = "; ".join(f"{f.kind} in {f.mapping} ({f.mapping_bytes >> 10} KiB)" for f in left.found[:4])
    return f"{left.hit_count} pieces in {left.scanned_bytes >> 20} MiB{': ' + places_found if places_found else ''}"


def _namespace() -> Finding:
    names = interfaces()
    promise = "everything works without a network"
    if names != ["lo"]:
        return not_shown(promise, f"there are {', '.join(names)}: no right to make a network namespace")
    return finding(promise, "the only interface is lo", kept=True)


def _traces(violations: Sequence[system_calls.Violation], call_count: int) -> Iterator[Finding]:
    connects = [v for v in violations if v.call in {"connect", "sendto"}]
    files = [v for v in violations if v not in connects]
    yield finding(
        "no file written or made", f"{call_count} calls seen, {_first(files)}", kept=not files and call_count > 0
    )
    yield finding(
        "no connection to anywhere else",
        f"{call_count} calls seen, {_first(connects)}",
        kept=not connects and call_count > 0,
    )


def _first(violations: Sequence[system_calls.Violation]) -> str:
    if not violations:
        return "none"
    first = violations[0]
    return f"{len(violations)}: {first.call} {first.target}{' (denied)' if first.denied else ''}"


def _untraced() -> Finding:
    return not_shown("no file written or made", "not traced: strace is not installed, or was not asked for")
