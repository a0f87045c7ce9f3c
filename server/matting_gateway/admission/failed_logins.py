# SPDX-License-Identifier: Apache-2.0
"""Limits how often callers of a network may fail to authenticate, so that tokens cannot be guessed."""

from matting_gateway.clock import Clock
from matting_gateway.errors import QuotaExceededError
from matting_gateway.token_bucket import BucketLevel, Rate, full, refilled, take

_RATE = Rate(per_s=2.0, burst=50.0)
_MAX_NETWORKS = 4096


class FailedLogins:
    """A token bucket of failed attempts for each network.

    Owns the buckets, `max_networks` at the most: beyond that, the one whose last failure is longest ago is dropped.
    """

    def __init__(self, *, clock: Clock, max_networks: int = _MAX_NETWORKS) -> None:
        self._clock = clock
        self._max_networks = max_networks
        self._buckets: dict[str, BucketLevel] = {}  # the last to fail last

    def check(self, network: str | None) -> None:
        """Look whether a network may try; asking costs it nothing. None may always.

        Raises:
            QuotaExceededError: Too many of its attempts have failed.
        """
        bucket = None if network is None else self._buckets.get(network)
        if bucket is None:
            return
        left = refilled(_RATE, bucket, self._clock.now())
        if left < 1.0:
            wait_s = (1.0 - left) / _RATE.per_s
            raise QuotaExceededError(
                f"Too many calls from your network had credentials that are nobody's; try again in {wait_s:.1f} s with"
                " valid ones.",
                retry_after_s=wait_s,
            )

    def failed(self, network: str | None) -> None:
        """Count an attempt that failed."""
        if network is None:
            return
        now_s = self._clock.now()
        bucket = self._buckets.pop(network) if network in self._buckets else full(_RATE, now_s)
        self._buckets[network], _ = take(_RATE, bucket, now_s, 1.0)
        if len(self._buckets) > self._max_networks:
            del self._buckets[next(iter(self._buckets))]

    def __repr__(self) -> str:
        return f"<FailedLogins of {len(self._buckets)} networks>"
