# SPDX-License-Identifier: Apache-2.0
"""Random interleavings of everything that can happen to the scheduler's machine.

Each job is asked about and then submitted, as the pipeline does. Tests that submitted alone could not see that
asking spent what the submission needed. What lies between pipeline and machine is still not seen here: nothing
happens between the two, where a photo would be decoded, and the shell, which turns actions into tasks and answers, is
tested by itself and over the wire.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from matting_gateway.batching.endpoints.endpoint_model import InflightBatch
from matting_gateway.batching.entry import Entry
from matting_gateway.domain.job import BatchKey, Priority
from testkit.long_runs import short_or_long
from testkit.scheduler_play import KEYS, SchedulerPlay

ALLOWED_S = (0.0, 0.01, 0.05, 0.15, 0.3, 1.0, 60.0)
CROWDED_S = (0.04, 0.08, 0.2)
COMPUTED_S = (0.0, 0.001, 0.03, 0.2)
WAITED_S = (0.001, 0.02, 0.1, 1.0)
TENANTS = ("", "t", "u")
PRIORITIES = tuple(Priority)


class Machine(RuleBasedStateMachine):
    """Few interleavings, drawn with care for what is possible, and made small when one fails."""

    inflight_batches = Bundle("inflight_batches")
    entries = Bundle("entries")
    play: SchedulerPlay

    @initialize(eager=st.booleans())
    def begin(self, eager: bool) -> None:
        self.play = SchedulerPlay(eager=eager)

    @rule(
        target=entries,
        key=st.sampled_from(KEYS),
        rows=st.integers(1, 5),
        allowed_s=st.sampled_from(ALLOWED_S),
        priority=st.sampled_from(PRIORITIES),
        tenant=st.sampled_from(TENANTS),
    )
    def arrive(self, key: BatchKey, rows: int, allowed_s: float, priority: Priority, tenant: str) -> object:
        entry = self.play.arrive(key, rows, allowed_s, priority, tenant)
        return multiple() if entry is None else entry

    @rule(allowed_s=st.sampled_from(CROWDED_S))
    def crowd(self, allowed_s: float) -> None:
        self.play.crowd(allowed_s)

    @rule(target=inflight_batches)
    def pump(self) -> object:
        return multiple(*self.play.pump())

    @rule(entry=consumes(entries))
    def cancel(self, entry: Entry) -> None:
        self.play.cancel(entry)

    @rule(target=inflight_batches, inflight_batch=consumes(inflight_batches), after_s=st.sampled_from(COMPUTED_S))
    def complete(self, inflight_batch: InflightBatch, after_s: float) -> object:
        return multiple(*self.play.complete(inflight_batch, after_s))

    @rule(target=inflight_batches, inflight_batch=consumes(inflight_batches), retry=st.booleans())
    def fail(self, inflight_batch: InflightBatch, retry: bool) -> object:
        return multiple(*self.play.fail(inflight_batch, retry=retry))

    @rule(target=inflight_batches, after_s=st.sampled_from(WAITED_S))
    def expire(self, after_s: float) -> object:
        return multiple(*self.play.expire(after_s))

    @rule(target=inflight_batches, endpoint=st.sampled_from(("x", "y")))
    def flap(self, endpoint: str) -> object:
        return multiple(*self.play.flap(endpoint))

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        if hasattr(self, "play"):
            self.play.check()

    def teardown(self) -> None:
        if hasattr(self, "play"):
            self.play.end()
            self.play.recover()


TestMachine = pytest.mark.slow(Machine.TestCase)
TestMachine.settings = settings(
    max_examples=short_or_long(50, 500),
    stateful_step_count=50,
)

# How often each event is drawn, of 256.
EVENTS = 90 * ["arrive"] + 10 * ["crowd"] + 70 * ["complete"] + 20 * ["fail"] + 16 * ["cancel"] + 30 * ["expire"]
EVENTS += 4 * ["flap"] + 16 * ["pump"]


@pytest.mark.slow
@settings(max_examples=short_or_long(500, 10_000), database=None)
@given(st.booleans(), st.binary(min_size=60, max_size=150))
def test_whatever_happens_every_job_is_answered_once_in_order_and_nothing_leaks(eager: bool, script: bytes) -> None:
    """Three bytes an event, since drawing each part by itself takes far longer than playing it."""
    play = SchedulerPlay(eager=eager, watches_asking=False)
    for kind, first, second in zip(script[::3], script[1::3], script[2::3], strict=False):
        act(play, EVENTS[kind], first, second)
        play.check()
    play.end()


@pytest.mark.slow
@settings(max_examples=short_or_long(250, 2_500), database=None)
@given(st.booleans(), st.binary(min_size=60, max_size=450))
def test_whatever_happened_callers_in_a_hurry_are_let_in_once_all_is_quick(eager: bool, script: bytes) -> None:
    play = SchedulerPlay(eager=eager)
    for kind, first, second in zip(script[::3], script[1::3], script[2::3], strict=False):
        act(play, EVENTS[kind], first, second)
    play.end()
    play.recover()


def act(play: SchedulerPlay, event: str, first: int, second: int) -> None:
    """Let an event happen whose parts are taken from two bytes; one that is not possible now does not."""
    if event == "arrive":
        priority, tenant = PRIORITIES[second // 8 % 3], TENANTS[second // 32 % 3]
        play.arrive(KEYS[first % 4], 1 + first // 4 % 5, ALLOWED_S[second % 7], priority, tenant)
    elif event == "crowd":
        play.crowd(CROWDED_S[first % 3])
    elif event == "cancel" and play.accepted:
        entry = play.accepted[-1 - first % len(play.accepted)]
        if entry not in play.answers:
            play.cancel(entry)
    elif event == "complete" and play.flying:
        play.complete(play.flying[first % len(play.flying)], COMPUTED_S[second % 4])
    elif event == "fail" and play.flying:
        play.fail(play.flying[first % len(play.flying)], retry=second % 4 > 0)
    elif event == "expire":
        play.expire(WAITED_S[first % 4])
    elif event == "flap":
        play.flap("xy"[first % 2])
    elif event == "pump":
        play.pump()
