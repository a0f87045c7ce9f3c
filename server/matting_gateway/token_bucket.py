# SPDX-License-Identifier: Apache-2.0
"""The token bucket, as a pure function of its level and the time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """An allowance: `per_s` units a second, of which up to `burst` may be saved up."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class BucketLevel:
    """What was left at a time, in units; below zero where more was taken than was left."""

    level: float
    at_s: float


def full(rate: Rate, now_s: float) -> BucketLevel:
    """Return a bucket of which nothing was taken yet."""
    return BucketLevel(rate.burst, now_s)


def refilled(rate: Rate, bucket: BucketLevel, now_s: float) -> float:
    """Return the units in the bucket now."""
    return min(rate.burst, bucket.level + max(0.0, now_s - bucket.at_s) * rate.per_s)


def take(rate: Rate, bucket: BucketLevel, now_s: float, amount: float) -> tuple[BucketLevel, float]:
    """Take units out.

    An amount over the burst is let through once the bucket is full, and leaves it in debt: it
    costs as much time as it should, instead of being refused for ever.

    Returns:
        The bucket afterwards and 0, or the bucket as it was and the seconds until the amount can
        be taken.
    """
    level = refilled(rate, bucket, now_s)
    needed = min(amount, rate.burst)
    if level >= needed:
        return BucketLevel(level - amount, now_s), 0.0
    return bucket, (needed - level) / rate.per_s
