# SPDX-License-Identifier: Apache-2.0
"""What the scheduler's machine says is to be done. Plain values; the shell acts on them."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from matting_gateway.batching.endpoints.endpoint_model import EndpointModel, InflightBatch
from matting_gateway.batching.entry import Entry


class Reason(Enum):
    """Why a job is not taken, or given up."""

    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    UNAVAILABLE = "unavailable"
    TOO_MANY_ROWS = "too_many_rows"
    EXPIRED = "expired"
    DISPLACED = "displaced"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A job that is not taken, and when it might be."""

    reason: Reason
    retry_after_s: float = 0.0
    max_rows: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """A job that may wait, once the `displaced` have given way to it.

    `entitled` says that it is within its flow's share, and gives way only to those below theirs.
    `probe` names the server that it is to be tried at, since it would be refused by what is believed of it.
    """

    entitled: bool = True
    displaced: tuple[Entry, ...] = ()
    probe: EndpointModel | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send this batch."""

    inflight_batch: InflightBatch


@dataclass(frozen=True, slots=True)
class Drop:
    """Tell this waiting job's caller that it will not be answered in time."""

    entry: Entry
    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell this job's caller that its batch failed and is not tried again."""

    entry: Entry


Action: TypeAlias = Send | Drop | Fail
Verdict: TypeAlias = Admission | Refusal


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """What waits and what is in flight."""

    waiting_count: int
    inflight_batch_count: int
    inflight_job_count: int
    draining: bool
