# SPDX-License-Identifier: Apache-2.0
"""Load-test client of the matting gateway, of any Open Inference Protocol server, and of rembg's.

report = matting_load.run(Plan(GatewayTarget("127.0.0.1:50051"), OpenLoop(steady(50, 10)),
                               deadlines=(DeadlineClass(0.3),)))
print(report.total.goodput_per_s)
"""

try:
    from matting_load.arrivals import Segment, arrival_times, bursts, ramp, read_trace, steady, steps
    from matting_load.plan import (
        ClosedLoop,
        DeadlineClass,
        GatewayTarget,
        OpenLoop,
        Photos,
        PhotoSize,
        Plan,
        RembgTarget,
        Replay,
        TensorTarget,
    )
    from matting_load.reports.page import render_page
    from matting_load.reports.report import Generator, Latency, Outcome, Report, Series, Summary, Verdict, read_report
    from matting_load.reports.table import render_csv
    from matting_load.reports.thresholds import Threshold, read_threshold
    from matting_load.running import run, run_async
    from matting_load.search import Found, Search, Slo, Trial, search
    from matting_load.sending.reaching import UnreachableError
except ModuleNotFoundError as missing:
    raise ImportError(f"matting_load needs {missing.name}: pip install matting-load") from missing

__all__ = [
    "ClosedLoop",
    "DeadlineClass",
    "Found",
    "GatewayTarget",
    "Generator",
    "Latency",
    "OpenLoop",
    "Outcome",
    "PhotoSize",
    "Photos",
    "Plan",
    "RembgTarget",
    "Replay",
    "Report",
    "Search",
    "Segment",
    "Series",
    "Slo",
    "Summary",
    "TensorTarget",
    "Threshold",
    "Trial",
    "UnreachableError",
    "Verdict",
    "arrival_times",
    "bursts",
    "ramp",
    "read_report",
    "read_threshold",
    "read_trace",
    "render_csv",
    "render_page",
    "run",
    "run_async",
    "search",
    "steady",
    "steps",
]
