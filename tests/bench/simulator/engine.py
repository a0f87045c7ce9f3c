# SPDX-License-Identifier: Apache-2.0
"""Virtual time, endpoints of a given latency curve, and the count of who was answered in time."""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from bench.simulator.arrivals import Arrival


@dataclass(frozen=True, slots=True)
class Curve:
    """A batch of n takes (base_s + row_s * n) times a random factor of mean 1."""

    base_s: float = 0.020
    row_s: float = 0.005
    max_rows: int = 8
    noise_share: float = 0.0

    def seconds(self, rows: int, draw: random.Random) -> float:
        mean_s = self.base_s + self.row_s * rows
        return mean_s * max(0.2, draw.gauss(1.0, self.noise_share)) if self.noise_share else mean_s

    @property
    def capacity(self) -> float:
        """Rows a second of one instance at best."""
        return max(n / (self.base_s + self.row_s * n) for n in range(1, self.max_rows + 1))


@dataclass(slots=True)
class Tally:
    """What became of the jobs."""

    offered: int = 0
    in_time: int = 0
    late: int = 0
    refused: int = 0
    dropped: int = 0
    batches: int = 0
    offered_by: Counter[str] = field(default_factory=Counter)
    in_time_by: Counter[str] = field(default_factory=Counter)
    came_in_time_s: list[float] = field(default_factory=list)  # when those came that were answered in time
    end_s: float = 0.0

    def goodput(self) -> float:
        """Jobs answered in time, per second of arrivals."""
        return self.in_time / self.end_s


class Policy(Protocol):
    """What is compared. It calls `world.at` and `world.run`, and settles every arrival."""

    def arrive(self, world: "World", arrival: Arrival) -> None: ...


Pace = Callable[[int, float], float]  # (endpoint, time) -> how many times as long a batch takes that begins then


class World:
    """Owns virtual time, the endpoints' instances and the tally."""

    def __init__(
        self, endpoint_count: int, curve: Curve, seed: int = 7, *, pace: Pace = lambda _endpoint, _time_s: 1.0
    ) -> None:
        self.now_s = 0.0
        self.curve = curve
        self.endpoint_count = endpoint_count
        self.pace = pace
        self.tally = Tally()
        self._draw = random.Random(seed)
        self._free_s = [0.0] * endpoint_count
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def at(self, time_s: float, event: Callable[[], None]) -> None:
        """Call `event` at a time to come."""
        self._serial += 1
        heapq.heappush(self._events, (time_s, self._serial, event))

    def run(self, endpoint: int, rows: int, done: Callable[[], None]) -> None:
        """Give an endpoint a batch, which starts when those before it there have ended."""
        self.tally.batches += 1
        start_s = max(self.now_s, self._free_s[endpoint])
        seconds = self.curve.seconds(rows, self._draw) * self.pace(endpoint, start_s)
        self._free_s[endpoint] = end_s = start_s + seconds
        self.at(end_s, done)

    def answered(self, arrival: Arrival) -> None:
        if self.now_s <= arrival.deadline_s:
            self.tally.in_time += 1
            self.tally.in_time_by[arrival.group] += 1
            self.tally.came_in_time_s.append(arrival.at_s)
        else:
            self.tally.late += 1

    def simulate(self, policy: Policy, arrivals: Iterable[Arrival]) -> Tally:
        """Let all arrivals come, and the rest of the work end."""
        for arrival in arrivals:
            self._advance(arrival.at_s)
            self.now_s = self.tally.end_s = arrival.at_s
            self.tally.offered += 1
            self.tally.offered_by[arrival.group] += 1
            policy.arrive(self, arrival)
        self._advance(float("inf"))
        return self.tally

    def _advance(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self._events)
            event()
