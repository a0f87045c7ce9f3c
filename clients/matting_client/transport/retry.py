# SPDX-License-Identifier: Apache-2.0
"""When a failed call may be tried again.

Only what may help and cannot harm is retried: UNAVAILABLE (AIP-194), and RESOURCE_EXHAUSTED where
the server's RetryInfo says when to come back. Waits grow exponentially with full jitter (Brooker,
"Exponential Backoff And Jitter", 2015) and are never shorter than what the server asked for. A
budget shared by all calls of a client keeps retries a fraction of its successes (gRFC A6, retry
throttling), so that an outage is not met with a multiple of the load.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from matting_client.errors import MattingError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon to try again.

    `max_attempts` counts the first one; 1 turns retries off. `budget_tokens` is the size of the
    shared budget: a retry costs one, a success gives `budget_refill` back.
    """

    max_attempts: int = 4
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 5.0
    budget_tokens: float = 20.0
    budget_refill: float = 0.1

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: at least 1, which means no retry")


@dataclass(frozen=True, slots=True)
class RetryStatistics:
    """How the budget stands."""

    tokens: float
    retry_count: int
    refused_count: int


class RetryBudget:
    """The token bucket that all calls of one client share.

    Owns the tokens: 0 <= tokens <= capacity. Safe to use from any thread.
    """

    def __init__(self, capacity: float, refill: float) -> None:
        self._capacity = capacity
        self._refill = refill
        self._tokens = capacity
        self._retry_count = 0
        self._refused_count = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:.1f} of {self._capacity:.1f}>"

    def take(self) -> bool:
        """Pay for one retry; False where the budget is used up."""
        with self._lock:
            if self._tokens < 1:
                self._refused_count += 1
                return False
            self._tokens -= 1
            self._retry_count += 1
            return True

    def success(self) -> None:
        """Give back a success's worth."""
        with self._lock:
            self._tokens = min(self._capacity, self._tokens + self._refill)

    def statistics(self) -> RetryStatistics:
        with self._lock:
            return RetryStatistics(self._tokens, self._retry_count, self._refused_count)


def may_retry(error: MattingError) -> bool:
    """Tell whether trying again can help: UNAVAILABLE, or RESOURCE_EXHAUSTED with RetryInfo."""
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return True
    return error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after_s is not None


class Attempts:
    """The attempts of one call: how long the next may take, and whether there is a next.

    Owns the attempt count of one call. The deadline is absolute, in seconds of `clock`.
    """

    def __init__(
        self, policy: RetryPolicy, budget: RetryBudget, timeout_s: float | None, clock: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._deadline_s = None if timeout_s is None else clock() + timeout_s
        self._failed_count = 0

    def remaining_s(self) -> float | None:
        """Return the time left for the call, None where it has no deadline."""
        return None if self._deadline_s is None else max(0.0, self._deadline_s - self._clock())

    def succeeded(self) -> None:
        self._budget.success()

    def wait_before_next(self, error: MattingError) -> float | None:
        """Return the seconds to wait before trying again, or None where the error is final."""
        self._failed_count += 1
        if not may_retry(error) or self._failed_count >= self._policy.max_attempts:
            return None
        wait_s = backoff_s(self._policy, self._failed_count, error.retry_after_s, random.random())  # noqa: S311  # jitter, no secret
        remaining_s = self.remaining_s()
        if remaining_s is not None and wait_s >= remaining_s:
            return None
        return wait_s if self._budget.take() else None


def backoff_s(policy: RetryPolicy, failed_count: int, retry_after_s: float | None, jitter: float) -> float:
    """Return the wait after the given number of failures; `jitter` is 0 to 1.

    What the server asked for is the least; up to a quarter more keeps callers that were told the
    same from coming back at the same instant.
    """
    grown_s = min(policy.max_backoff_s, policy.initial_backoff_s * 2.0 ** (failed_count - 1))
    if retry_after_s is None:
        return grown_s * jitter
    return retry_after_s + max(grown_s, retry_after_s) * 0.25 * jitter
