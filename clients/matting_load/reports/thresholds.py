# SPDX-License-Identifier: Apache-2.0
"""Conditions under which a test has failed: `p99_ms>250`, `in_time_share@150ms<0.99`, `OVERLOADED_share>0.05`."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from matting_client.program.explaining import did_you_mean
from matting_client.transport.failures import BY_REASON

from matting_load.outcomes import (
    EMPTY_ANSWER,
    LATE,
    MALFORMED_ANSWER,
    NO_ANSWER_IN_TIME,
    NOT_SENT,
    OK,
    UNFINISHED,
)
from matting_load.reports.figures import OF_AN_OUTCOME, OF_EACH_ROW, OF_THE_TEST, rows
from matting_load.reports.report import Report, Verdict

FORM = "FIGURE>NUMBER or FIGURE@ROW>NUMBER, with > >= < <= == or !="
_OURS = (OK, LATE, NO_ANSWER_IN_TIME, NOT_SENT, UNFINISHED, EMPTY_ANSWER, MALFORMED_ANSWER)
_OUTCOMES = frozenset((*_OURS, *BY_REASON, *(code.name for code in grpc.StatusCode)))
_OTHER_OUTCOMES = re.compile(r"HTTP_\d{3}|[A-Z][A-Za-z]+(Error|Exception|Timeout|Disconnected)")

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_EXPRESSION = re.compile(r"\s*(\w+)\s*(?:@([^<>=!]+))?(>=|<=|==|!=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition under which a test has failed; `row` is a deadline or a step, empty for the whole test."""

    figure: str
    row: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.figure}{f'@{self.row}' if self.row else ''} {self.comparison} {self.bound:g}"

    def judge(self, report: Report) -> Verdict:
        """Tell whether a test kept out of it. A figure that there is nothing to take of has failed."""
        chosen = [row for row in rows(report) if (row.kind != "total" and _plain(row.name) == self.row)]
        values = [
            row.figures.get(self.figure, 0.0 if _outcome_of(self.figure) else None)
            for row in (chosen if self.row else rows(report)[:1])
        ]
        failed = [value for value in values if value is None or _COMPARISONS[self.comparison](value, self.bound)]
        shown = failed or values
        found = "there is none" if not shown or shown[0] is None else f"it is {shown[0]:.6g}"
        return Verdict(f"fail if {self}", bool(values) and not failed, found)


def read_threshold(text: str, row_names: Sequence[str]) -> Threshold:
    """Read a condition; `row_names` are the deadlines and steps that the report will have.

    Raises:
        ValueError: It is of another form, or there is no such figure or row; the text says what there is.
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form {FORM}")
    figure, row, comparison, number = match.groups()
    try:
        bound = float(number)
    except ValueError as error:
        raise ValueError(f"{text!r}: {number!r} is no number (a share is one from 0 to 1)") from error
    rows_there = list(dict.fromkeys(map(_plain, row_names)))
    row = _plain(row or "")
    if row and row not in rows_there:
        there = (
            f"there are {', '.join(rows_there)}" if rows_there else "this test has neither several deadlines nor steps"
        )
        raise ValueError(f"{text!r}: there is no row {row!r}: {there}")
    if row and figure in OF_THE_TEST:
        raise ValueError(f"{text!r}: {figure} is of the whole test, not of a deadline or step: leave out @{row}")
    if figure not in (*OF_EACH_ROW, *OF_THE_TEST) and not _outcome_of(figure):
        raise ValueError(f"{text!r}: there is no figure {figure!r}{_meant(figure)}. {figures_there()}")
    return Threshold(figure, row, comparison, bound)


def figures_there() -> str:
    """Say which figures thresholds can be set on."""
    return (
        f"There are {', '.join((*OF_EACH_ROW, *OF_THE_TEST))}; "
        f"and for each outcome, such as {', '.join(_OURS[:3])}, OVERLOADED or UNAVAILABLE: "
        f"{', '.join(f'OUTCOME_{each}' for each in OF_AN_OUTCOME)}"
    )


def _meant(figure: str) -> str:
    of_outcomes = [f"{outcome}_{each}" for outcome in sorted(_OUTCOMES) for each in OF_AN_OUTCOME]
    return did_you_mean(figure, [*OF_EACH_ROW, *OF_THE_TEST, *of_outcomes])


def _outcome_of(figure: str) -> str:
    """Return the outcome that a figure is of; empty for a figure of another kind. One that nobody met counts 0."""
    for each in OF_AN_OUTCOME:
        outcome = figure.removesuffix(f"_{each}")
        if outcome != figure and (outcome in _OUTCOMES or _OTHER_OUTCOMES.fullmatch(outcome)):
            return outcome
    return ""


def _plain(name: str) -> str:
    """Return a row's name as it is written in a condition: without blanks."""
    return "".join(name.split())
