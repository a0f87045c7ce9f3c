# SPDX-License-Identifier: Apache-2.0
"""What is tried again, when, and when no more."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_client.transport.failures import error_of_status
from matting_client.transport.retry import Attempts, RetryBudget, RetryPolicy, backoff_s, may_retry
from testkit.fake_gateway import Failure

UNAVAILABLE = error_of_status(Failure("DRAINING", grpc.StatusCode.UNAVAILABLE).status())
OVERLOADED = error_of_status(Failure("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2.0).status())


class StillClock:
    """Time that moves by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def attempts(policy: RetryPolicy, timeout_s: float | None = None, tokens: float = 20.0) -> Attempts:
    return Attempts(policy, RetryBudget(tokens, 0.1), timeout_s, StillClock())


@pytest.mark.parametrize(
    ("code", "retry_after_s", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, None, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, None, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 0.5, False),
        (grpc.StatusCode.INTERNAL, 0.5, False),
        (grpc.StatusCode.INVALID_ARGUMENT, None, False),
        (grpc.StatusCode.CANCELLED, None, False),
    ],
)
def test_only_what_may_help_is_retried(code: grpc.StatusCode, retry_after_s: float | None, expected: bool) -> None:
    assert may_retry(error_of_status(Failure("", code, retry_after_s=retry_after_s).status())) is expected


@pytest.mark.slow
@given(st.integers(1, 30), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 60)))
def test_a_wait_is_bounded_and_never_shorter_than_the_server_asked(
    failed_count: int, jitter: float, retry_after_s: float | None
) -> None:
    policy = RetryPolicy()
    wait_s = backoff_s(policy, failed_count, retry_after_s, jitter)
    if retry_after_s is None:
        assert 0 <= wait_s <= policy.max_backoff_s
    else:
        assert retry_after_s <= wait_s <= retry_after_s + 0.25 * max(retry_after_s, policy.max_backoff_s)


def test_waits_grow_with_failures() -> None:
    assert [backoff_s(RetryPolicy(), count, None, 1.0) for count in (1, 2, 3, 10)] == [0.1, 0.2, 0.4, 5.0]


def test_attempts_end() -> None:
    calls = attempts(RetryPolicy(max_attempts=3))
    assert [calls.wait_before_next(UNAVAILABLE) is None for _ in range(3)] == [False, False, True]


def test_a_wait_past_the_deadline_is_not_begun() -> None:
    assert attempts(RetryPolicy(), timeout_s=1.9).wait_before_next(OVERLOADED) is None
    assert attempts(RetryPolicy(), timeout_s=10.0).wait_before_next(OVERLOADED) is not None


def test_all_attempts_share_one_deadline() -> None:
    clock = StillClock()
    calls = Attempts(RetryPolicy(), RetryBudget(1, 0.1), 10.0, clock)
    clock.now_s += 4
    assert calls.remaining_s() == 6
    clock.now_s += 40
    assert calls.remaining_s() == 0


def test_an_empty_budget_refuses_until_successes_fill_it() -> None:
    budget = RetryBudget(capacity=2, refill=0.5)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    budget.success()
    assert not budget.take()
    budget.success()
    assert budget.take()
    assert (budget.statistics().retry_count, budget.statistics().refused_count) == (3, 2)


@pytest.mark.slow
@given(st.lists(st.booleans(), max_size=200))
def test_a_budget_is_never_negative_nor_over_full(steps: list[bool]) -> None:
    budget = RetryBudget(capacity=5, refill=0.3)
    for take in steps:
        budget.take() if take else budget.success()
        assert 0 <= budget.statistics().tokens <= 5


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RetryPolicy(max_attempts=0)
