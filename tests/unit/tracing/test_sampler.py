# SPDX-License-Identifier: Apache-2.0
"""Which calls are traced: a share, and what callers ask for, within a bound."""

import random
from collections.abc import Callable, Iterator

import pytest
from matting_gateway.tracing.sampler import Sampler
from matting_gateway.tracing.settings import TracingSettings
from testkit.manual_clock import ManualClock

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKS, DECLINES = f"00-{TRACE_ID}-{SPAN_ID}-01", f"00-{TRACE_ID}-{SPAN_ID}-00"


def sampler(
    ratio: float,
    asked_per_s: float = 10.0,
    *,
    clock: ManualClock | None = None,
    chance: Callable[[], float] | None = None,
) -> Sampler:
    settings = TracingSettings("collector:4317", ratio, asked_per_s)
    return Sampler(
        settings, clock=clock or ManualClock(), on_end=lambda _: None, chance=chance or random.Random(1).random
    )


def traced(chosen: Sampler, header: str | None, count: int, *, may_ask: bool = True) -> int:
    return sum(chosen.begin(header, may_ask=may_ask) is not None for _ in range(count))


@pytest.mark.parametrize(
    ("ratio", "least", "most"), [(0.0, 0, 0), (0.01, 70, 130), (0.5, 4800, 5200), (1.0, 10_000, 10_000)]
)
def test_the_share_of_calls_is_traced(ratio: float, least: int, most: int) -> None:
    assert least <= traced(sampler(ratio), None, 10_000) <= most


def test_a_caller_who_asks_has_its_call_in_its_own_trace() -> None:
    trace = sampler(0.0).begin(ASKS, may_ask=True)
    assert trace is not None
    assert (trace.trace_id, trace.parent_span_id) == (TRACE_ID, SPAN_ID)


def test_a_caller_whose_call_is_not_sampled_is_heard() -> None:
    assert traced(sampler(1.0), DECLINES, 100) == 0


def test_callers_who_ask_get_so_many_a_second() -> None:
    clock = ManualClock()
    chosen = sampler(0.0, 10.0, clock=clock)
    assert traced(chosen, ASKS, 1000) == 10
    clock.advance(0.5)
    assert traced(chosen, ASKS, 1000) == 5
    clock.advance(3600)
    assert traced(chosen, ASKS, 1000) == 10


def test_what_callers_ask_for_takes_nothing_from_the_share() -> None:
    rolls: Iterator[float] = iter([0.0] * 20 + [0.9] * 20)
    chosen = sampler(0.5, 10.0, chance=lambda: next(rolls))
    assert traced(chosen, ASKS, 20) == 20
    assert traced(chosen, ASKS, 20) == 10


def test_the_id_that_a_caller_chose_does_not_make_it_sampled() -> None:
    lowest = f"00-{'0' * 31}1-{SPAN_ID}-01"
    assert 70 <= traced(sampler(0.01, 10.0), lowest, 10_000) - 10 <= 130


def test_where_callers_have_no_say_their_trace_is_gone_on_with_all_the_same() -> None:
    chosen = sampler(0.5, 0.0)
    assert 4800 <= traced(chosen, ASKS, 10_000) <= 5200
    assert 4800 <= traced(chosen, DECLINES, 10_000) <= 5200
    trace = sampler(1.0, 0.0).begin(DECLINES, may_ask=True)
    assert trace is not None
    assert trace.trace_id == TRACE_ID


def test_whoever_was_not_let_in_asks_in_vain() -> None:
    assert traced(sampler(0.0), ASKS, 100, may_ask=False) == 0
    assert traced(sampler(1.0), DECLINES, 100, may_ask=False) == 100


@pytest.mark.parametrize("header", ["", "x", "00-1-2-3", ASKS.upper(), f"{ASKS}-more", "\0" * 8192])
def test_a_header_that_is_none_is_as_if_it_were_not_there(header: str) -> None:
    trace = sampler(1.0).begin(header, may_ask=True)
    assert trace is not None
    assert trace.parent_span_id == ""
    assert traced(sampler(0.0), header, 100) == 0
