# SPDX-License-Identifier: Apache-2.0
"""The live view of a running test on a terminal."""

import time
from collections.abc import Callable, Sequence
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from matting_load.plan import Plan
from matting_load.reports.analysis import describe_load
from matting_load.sending.records import Tally

# A rate is taken over so many tallies: a second or two.
_LOOKS = 8


class LiveView:
    """Shows rates of the last seconds, outcomes so far, and recent latencies.

    Owns the display, and the last few tallies with their times.
    """

    def __init__(self, plan: Plan, console: Console, *, enabled: bool, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False, transient=True) if enabled else None
        self._looks: list[tuple[float, Tally]] = []
        self._started_s: float | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, tally: Tally) -> None:
        """Show how the test stands."""
        if self._live is None:
            return
        now_s = self._clock()
        if self._started_s is None:
            self._started_s = now_s
        self._looks = [*self._looks[-_LOOKS:], (now_s, tally)]
        self._live.update(self._drawn(now_s - self._started_s, tally), refresh=True)

    def _drawn(self, elapsed_s: float, tally: Tally) -> Group:
        duration_s = self._plan.load.duration_s
        (then_s, then), (now_s, _) = self._looks[0], self._looks[-1]
        span_s = max(now_s - then_s, 1e-9)
        table = Table.grid(padding=(0, 3))
        table.add_row(
            f"[bold]{(tally.due_count - then.due_count) / span_s:,.0f}[/]/s offered",
            f"[bold green]{(tally.outcomes['ok'] - then.outcomes['ok']) / span_s:,.0f}[/]/s in time",
            f"[bold]{tally.outstanding_count:,}[/] outstanding",
            latency_text(tally.recent_latencies_s),
        )
        parts = [f"{name} {count:,}" for name, count in tally.outcomes.most_common()]
        return Group(
            Text(f"{self._plan.name}: {describe_load(self._plan)}"),
            Padding(ProgressBar(total=duration_s, completed=min(elapsed_s, duration_s), width=60), 0),
            table,
            Text("   ".join(parts), style="dim"),
        )


def latency_text(latencies_s: Sequence[float]) -> str:
    """Write the percentiles of recent answers."""
    if not latencies_s:
        return "no answer yet"
    ordered = sorted(latencies_s)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"p50 [bold]{p50 * 1e3:,.1f}[/] ms   p99 [bold]{p99 * 1e3:,.1f}[/] ms"


def make_watcher(plan: Plan, *, quiet: bool) -> LiveView:
    """Make the live view; it shows nothing where no terminal watches."""
    console = Console(stderr=True)
    return LiveView(plan, console, enabled=not quiet and console.is_terminal, clock=time.monotonic)
