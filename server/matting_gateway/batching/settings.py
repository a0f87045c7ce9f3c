# SPDX-License-Identifier: Apache-2.0
"""What an operator may set of the scheduler. Nothing here needs tuning to a model: latencies are learned."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchingSettings:
    """How the scheduler behaves.

    Attributes:
        prefetch_lead_s: A batch is sent to a busy instance this long before the instance is
            predicted to be free, so that the transfer overlaps the compute; at most
            `prefetch_lead_share` of the batch's own latency, so that quick models still
            collect batches.
        prefetch_lead_share: See `prefetch_lead_s`.
        min_patience_s: A batch may always take this long beyond its predicted start before its
            endpoint counts as hung.
        patience_factor: And this many times its predicted latency.
        cold_patience_s: The patience while nothing is known of the model there, which may have
            to be compiled or loaded first.
        max_waiting_count: Jobs that may wait in all; a bound on bookkeeping, since images are
            bounded by bytes before they get here.
        demand_window_s: Time constant over which the demand of tenants and deadline classes is measured.
        probe_interval_s: So long after the last such try a job that seems hopeless only because the
            model is thought too slow is tried all the same, so that a wrong belief heals. One that came
            back in time is followed by the next at once.
        unavailable_grace_s: Jobs that no backend is left for wait so long for one to come back, before they
            are told.
        gather_gap_s: While bodies of jobs are coming in, a free slot waits for more jobs than it could
            send so long after the last one came. With nothing coming in it never waits.
        gather_most_s: And so long at most in all.
    """

    prefetch_lead_s: float = 0.010
    prefetch_lead_share: float = 0.2
    min_patience_s: float = 1.0
    patience_factor: float = 8.0
    cold_patience_s: float = 120.0
    max_waiting_count: int = 100_000
    demand_window_s: float = 1.0
    probe_interval_s: float = 0.5
    unavailable_grace_s: float = 0.05
    gather_gap_s: float = 0.002
    gather_most_s: float = 0.010
