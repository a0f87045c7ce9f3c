# SPDX-License-Identifier: Apache-2.0
"""Finds the highest rate that meets an SLO, by bisection.

Each trial is an open loop at one rate. The rate doubles until a trial misses, then the gap
between the best that met and the least that missed is halved until it is small.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from matting_load.arrivals import Process, steady
from matting_load.plan import OpenLoop, Plan
from matting_load.reports.report import Report, Summary, Verdict


@dataclass(frozen=True, slots=True)
class Slo:
    """What must hold: the share of calls answered by their deadline, and the latency of those answered."""

    good_share: float = 0.99
    p99_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.good_share <= 1:
            raise ValueError(f"a share of {self.good_share}: more than 0, at most 1")

    def met_by(self, summary: Summary) -> bool:
        """Tell whether a stretch of load met it."""
        if summary.latency is None or summary.good_share < self.good_share:
            return False
        return self.p99_s is None or summary.latency.p99_s <= self.p99_s

    def __str__(self) -> str:
        tail = "" if self.p99_s is None else f", p99 at most {self.p99_s * 1e3:g} ms"
        return f"at least {self.good_share * 100:.6g}% of calls in time{tail}"


@dataclass(frozen=True, slots=True)
class Search:
    """How to look: between which rates, for how long each, and how close (a share of the rate)."""

    low_per_s: float = 1.0
    high_per_s: float = 10_000.0
    trial_s: float = 10.0
    warmup_s: float = 1.0
    tolerance: float = 0.05
    process: Process = "poisson"

    def __post_init__(self) -> None:
        if not 0 < self.low_per_s < self.high_per_s or not 0 < self.tolerance < 1:
            raise ValueError("a search needs 0 < low < high and a tolerance between 0 and 1")

    def first_load(self) -> OpenLoop:
        """Return the load of the first trial."""
        return self.load(self.low_per_s)

    def load(self, rate_per_s: float) -> OpenLoop:
        """Return the load of a trial."""
        return OpenLoop(steady(rate_per_s, self.trial_s + self.warmup_s), self.process)


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate tried."""

    rate_per_s: float
    met: bool
    report: Report


@dataclass(frozen=True, slots=True)
class Found:
    """What the search found: 0 where no rate met it. `capped`: even the highest did; `stopped`: by Ctrl-C."""

    slo: Slo
    how: Search
    rate_per_s: float
    capped: bool
    trials: tuple[Trial, ...]
    stopped: bool = False

    @property
    def verdict(self) -> Verdict:
        missed = min((trial.rate_per_s for trial in self.trials if not trial.met), default=math.inf)
        if not self.rate_per_s:
            found = f"even {missed:g}/s misses it"
        elif math.isinf(missed) and self.stopped:
            found = f"highest rate tried: {self.rate_per_s:g}/s, and perhaps more"
        elif self.capped:
            found = f"highest rate: {self.rate_per_s:g}/s, and more: --high ends the search"
        else:
            found = f"highest rate: {self.rate_per_s:g}/s; {missed:g}/s misses it"
        return Verdict(f"SLO: {self.slo}", self.rate_per_s > 0, f"{'interrupted; ' if self.stopped else ''}{found}")

    def as_report(self, label: str) -> Report:
        """Join the trials to one report, a step a rate, under the figures of the best that met (or the lowest)."""
        ordered = sorted(self.trials, key=lambda trial: trial.rate_per_s)
        best = max((trial for trial in ordered if trial.met), key=lambda trial: trial.rate_per_s, default=ordered[0])
        steps = tuple(
            dataclasses.replace(trial.report.total, name=f"{trial.rate_per_s:g}/s{'' if trial.met else ' (missed)'}")
            for trial in ordered
        )
        return dataclasses.replace(
            best.report,
            label=label,
            load=f"search for the highest rate, {self.how.process}, {self.how.trial_s:g} s a rate",
            total=dataclasses.replace(best.report.total, name=f"{best.rate_per_s:g}/s"),
            steps=steps,
            verdicts=(self.verdict,),
            searched=True,
        )


def search(
    plan: Plan,
    slo: Slo,
    how: Search,
    run: Callable[[Plan], Report],
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Found:
    """Find the highest rate at which the plan's target meets the SLO; the plan's own load is not used.

    Raises:
        KeyboardInterrupt: Before any rate was tried; later it ends the search with what was found until then.
    """
    trials: list[Trial] = []

    def meets(rate: float) -> bool:
        # Another seed each time: a lucky arrival pattern must not decide twice.
        report = run(
            dataclasses.replace(plan, load=how.load(rate), warmup_s=how.warmup_s, seed=plan.seed + len(trials))
        )
        trial = Trial(rate, slo.met_by(report.total), report)
        trials.append(trial)
        on_trial(trial)
        return trial.met

    stopped = False
    try:
        _bisect(how, meets)
    except KeyboardInterrupt:
        if not trials:
            raise
        stopped = True
    met = max((trial.rate_per_s for trial in trials if trial.met), default=0.0)
    return Found(slo, how, met, met >= how.high_per_s, tuple(trials), stopped)


def _bisect(how: Search, meets: Callable[[float], bool]) -> None:
    """Try rates until the highest that meets is known closely enough."""
    met, missed = 0.0, math.inf
    rate = how.low_per_s
    while math.isinf(missed):
        if not meets(rate):
            missed = rate
        elif rate >= how.high_per_s:
            return
        else:
            met, rate = rate, min(rate * 2, how.high_per_s)
    while met and missed - met > how.tolerance * met:
        middle = _rounded((met + missed) / 2)
        if not met < middle < missed:
            break
        if meets(middle):
            met = middle
        else:
            missed = middle


def _rounded(rate: float) -> float:
    """Round to three digits: more would feign precision."""
    return float(f"{rate:.3g}")
