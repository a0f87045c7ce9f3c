# SPDX-License-Identifier: Apache-2.0
"""What a proof found, and the table that says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What follows from a measurement.

    KEPT: it holds. BROKEN: it does not. NOT_SHOWN: it could not be measured here.
    """

    KEPT = "kept"
    BROKEN = "BROKEN"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise, what was measured, and what follows."""

    promise: str
    measured: str
    verdict: Verdict


def finding(promise: str, measured: str, *, kept: bool) -> Finding:
    return Finding(promise, measured, Verdict.KEPT if kept else Verdict.BROKEN)


def not_shown(promise: str, why: str) -> Finding:
    return Finding(promise, why, Verdict.NOT_SHOWN)


def table(findings: Sequence[Finding]) -> str:
    """Return the findings as a table for a terminal."""
    promise_width = max((len(f.promise) for f in findings), default=0)
    lines = [f"{f.verdict.value:<10} {f.promise:<{promise_width}}  {f.measured}" for f in findings]
    counts = [f"{sum(f.verdict is v for f in findings)} {v.value}" for v in Verdict]
    return "\n".join([*lines, "", ", ".join(counts)])


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 only if everything was shown to hold: what could not be measured is no proof."""
    return 0 if {finding.verdict for finding in findings} == {Verdict.KEPT} else 1
