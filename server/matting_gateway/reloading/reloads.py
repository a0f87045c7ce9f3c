# SPDX-License-Identifier: Apache-2.0
"""Certificates and tenants as they change on disk: told of, read again on demand, and until when they are good."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from matting_gateway.reloading.certificate_dates import first_expiry_s
from matting_gateway.reloading.watched_files import ReloadReport
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics


class Reloads:
    """Knows every file that is watched.

    Owns the list of what reads them again. The gauge of a certificate's end follows its file when a change is taken
    over.

    Args:
        certificates: The files that hold certificates.
    """

    def __init__(self, certificates: Sequence[Path], *, logs: Logs, metrics: Metrics) -> None:
        self._certificates = certificates
        self._logs = logs
        self._metrics = metrics
        self._reads: list[Callable[[], None]] = []

    def add(self, read_again: Callable[[], None]) -> None:
        """Have this called on demand."""
        self._reads.append(read_again)

    def read_again(self) -> None:
        """Read all of them again now; what cannot be used changes nothing."""
        self._logs.event(Event.RELOAD, count=len(self._reads))
        for read_again in self._reads:
            read_again()

    def report(self, report: ReloadReport) -> None:
        """Tell of a change on disk."""
        event = Event.FILES_RELOADED if report.accepted else Event.FILES_REFUSED
        for path in report.paths:
            self._logs.event(event, file=path.name, detail=report.problem)
        if report.accepted:
            self.tell_expiry()

    def tell_expiry(self) -> None:
        """Tell until when the certificates in use are valid."""
        for path in self._certificates:
            with suppress(OSError, ValueError):  # it is just being replaced, and told of when that is done
                self._metrics.certificate_expiry.labels(path.name).set(first_expiry_s(path.read_text("ascii")))
