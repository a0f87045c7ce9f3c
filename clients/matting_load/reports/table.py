# SPDX-License-Identifier: Apache-2.0
"""Reports as CSV: a row for each test, deadline class and step, and a column a figure."""

import csv
import io
from collections.abc import Sequence

from matting_load.reports.figures import rows
from matting_load.reports.report import Report


def render_csv(reports: Sequence[Report]) -> str:
    """Write reports as CSV (RFC 4180, but for line ends); what there is no figure of is empty."""
    lines = [(report, row) for report in reports for row in rows(report)]
    names = list(dict.fromkeys(name for _, row in lines for name in row.figures))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "started", "row", "name", *names])
    for report, row in lines:
        values = (row.figures.get(name) for name in names)
        writer.writerow([report.label, report.started, row.kind, row.name, *map(_written, values)])
    return out.getvalue()


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
