# SPDX-License-Identifier: Apache-2.0
"""The report that goes with every answer, by calls in virtual time."""

import base64
from dataclasses import astuple

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.rpc.serving.load_report import LOAD_REPORT_KEY, LoadReport, load_report
from testkit.load_reports import OrcaLoadReport, Report, read_report
from testkit.manual_clock import ManualClock


class Answers:
    """Calls that are answered evenly, and a report of them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.came = self.failed = 0
        self.utilization = 0.0
        self.asked_count = 0
        self.report = LoadReport(self._utilization, lambda: (self.came, self.failed), clock=self.clock)

    def _utilization(self) -> float:
        self.asked_count += 1
        return self.utilization

    def now(self) -> Report:
        ((name, value),) = Decoder().decode(self.report.block(), raw=True)
        assert name == LOAD_REPORT_KEY.encode()
        padded = value + b"=" * (-len(value) % 4)
        return read_report(base64.b64decode(padded))

    def answer(self, rps: int, eps: int, seconds: float) -> None:
        for _ in range(round(rps * seconds)):
            self.clock.advance(1 / rps)
            self.came += 1
            self.failed += self.came * eps // rps - (self.came - 1) * eps // rps
            self.report.block()


@given(*[st.floats(0.0, 1e9)] * 3)
def test_it_is_the_message_that_orca_defines(rps: float, eps: float, utilization: float) -> None:
    message = OrcaLoadReport.FromString(load_report(rps=rps, eps=eps, utilization=utilization))
    assert (message.rps_fractional, message.eps, message.application_utilization) == (rps, eps, utilization)


def test_it_says_how_many_calls_a_second_are_answered_and_how_many_fail() -> None:
    answers = Answers()
    answers.utilization = 0.75
    answers.answer(200, 50, 3.0)
    assert astuple(answers.now()) == (pytest.approx(200, rel=0.1), pytest.approx(50, rel=0.1), 0.75)


def test_it_follows_a_change_within_a_second() -> None:
    answers = Answers()
    answers.answer(100, 0, 2.0)
    answers.answer(400, 100, 1.1)
    assert answers.now().rps == pytest.approx(400, rel=0.1)
    assert answers.now().eps == pytest.approx(100, rel=0.1)


def test_after_a_long_rest_the_first_calls_are_counted_as_those_of_one_second() -> None:
    answers = Answers()
    answers.answer(100, 0, 2.0)
    answers.clock.advance(3600)
    answers.answer(100, 0, 0.5)
    assert 40 <= answers.now().rps <= 50


def test_it_is_made_ten_times_a_second_at_the_most() -> None:
    answers = Answers()
    answers.answer(5000, 0, 2.0)
    assert answers.asked_count <= 21
