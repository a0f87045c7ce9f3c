# SPDX-License-Identifier: Apache-2.0
"""What nobody can beat: a bound on the jobs in time that even knows the future.

Relaxation: a batch of n takes L(n), so each of its jobs uses at least min L(n)/n of its instance's
time, all of it between the job's arrival and its deadline. Pool all instances into one machine
that may interrupt at will, cut time into pieces of one job's work, and round windows outwards.
What remains is a matching of jobs to pieces in a convex bipartite graph, of which giving each
piece to the open job with the earliest deadline is a largest one (Glover 1967).
"""

import heapq
from collections.abc import Iterable

from bench.simulator.arrivals import Arrival
from bench.simulator.engine import Curve, Tally


def clairvoyant(arrivals: Iterable[Arrival], endpoint_count: int, curve: Curve) -> Tally:
    """Count the most jobs that any policy could answer in time; per group, those of one such schedule."""
    tally = Tally()
    piece_s = 1.0 / (curve.capacity * endpoint_count)
    waiting: list[tuple[int, int, Arrival]] = []
    piece = 0

    def serve(until: float) -> None:
        nonlocal piece
        while waiting and piece < until:
            last, _, arrival = heapq.heappop(waiting)
            if last >= piece:
                tally.in_time += 1
                tally.in_time_by[arrival.group] += 1
                piece += 1

    for arrival in arrivals:
        tally.offered += 1
        tally.offered_by[arrival.group] += 1
        tally.end_s = arrival.at_s
        first = int(arrival.at_s / piece_s)
        serve(first)
        piece = max(piece, first)
        last = -int(-arrival.deadline_s // piece_s) - 1
        heapq.heappush(waiting, (last, tally.offered, arrival))
    serve(float("inf"))
    return tally
