# SPDX-License-Identifier: Apache-2.0
"""Who gets how much when not everybody can be served. Pure: no clock, no asyncio.

Jobs belong to flows: same priority, same tenant, and deadlines of the same order of magnitude.
Generalised processor sharing (Parekh and Gallager 1993) says what each flow could count on: a
tenant its weight's part of the capacity, within it each class of deadlines a part in proportion
to what it asks; what somebody leaves is filled up by the others, max-min fair. These rates decide
who is admitted and who has to give way. The order of service stays earliest deadline first, since
a set that is feasible by shares is feasible by deadlines.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from matting_gateway.batching.entry import Entry

_REFRESH_S = 0.05
_FADED = 0.01  # rows a second, under which an idle flow is forgotten
_BURST_ROWS = 16
_SCAN = 64  # jobs of a flow that are looked at for one that could give way
_LEFTOVER = 0.02  # part of the capacity that a lower priority is judged by at the least

FlowKey = tuple[int, str, int]


class Flow:
    """Jobs that compete as one. `guaranteed_rate` and `fair_rate` are in rows a second.

    A token bucket filled at the guaranteed rate says which of its jobs are entitled: however long
    they wait behind others, they are within its share.
    """

    __slots__ = (
        "_demand",
        "_demand_s",
        "_tokens",
        "_tokens_s",
        "fair_rate",
        "guaranteed_rate",
        "key",
        "over",
        "recent",
        "rows",
    )

    def __init__(self, key: FlowKey) -> None:
        self.key = key
        self.rows = 0
        self.recent: deque[tuple[int, Entry]] = deque()
        self.guaranteed_rate = 0.0
        self.fair_rate = 0.0
        # Whether more is asked than is guaranteed.
        self.over = False
        self._demand = 0.0
        self._demand_s = 0.0
        self._tokens = float("inf")
        self._tokens_s = 0.0

    def demand(self, now_s: float, window_s: float) -> float:
        """Return the rows a second offered lately, refused ones included."""
        if now_s > self._demand_s:
            self._demand *= math.exp((self._demand_s - now_s) / window_s)
            self._demand_s = now_s
        return self._demand

    def note_demand(self, rows: int, now_s: float, window_s: float) -> None:
        self._demand = self.demand(now_s, window_s) + rows / window_s

    def entitled(self, rows: int, now_s: float) -> bool:
        """Whether so many rows more are within the flow's guarantee."""
        return self._tokens_at(now_s) >= rows

    def _tokens_at(self, now_s: float) -> float:
        # Room for what may come at once: a few batches, and what the deadlines of the class bridge.
        most = max(_BURST_ROWS, self.guaranteed_rate * math.ldexp(1.0, self.key[2]))
        return min(self._tokens + self.guaranteed_rate * (now_s - self._tokens_s), most)

    def fill(self, now_s: float) -> None:
        """Put in what has come until now, before something is taken out or the rate changes."""
        self._tokens, self._tokens_s = self._tokens_at(now_s), now_s

    def join(self, entry: Entry) -> None:
        self.rows += entry.rows
        if entry.entitled:
            self._tokens -= entry.rows
        self.recent.append((entry.seq, entry))
        if len(self.recent) > 64 and len(self.recent) > 2 * self.rows:
            self.recent = deque(item for item in self.recent if item[1].waiting_as(item[0]))

    def displaceable(self, due_s: float, *, entitled_too: bool) -> Iterator[Entry]:
        """Yield waiting jobs that stand before `due_s`: the newest first, else the oldest first.

        What is thrown away here waits no more, and would be passed over by the next who asks.
        """
        recent = self.recent
        while recent and not recent[-1][1].waiting_as(recent[-1][0]):
            recent.pop()
        while recent and not recent[0][1].waiting_as(recent[0][0]):
            recent.popleft()
        newest_first = bool(recent) and recent[-1][1].due_s <= due_s
        for seq, entry in islice(reversed(recent) if newest_first else iter(recent), _SCAN):
            if entry.waiting_as(seq):
                if entry.due_s > due_s:
                    return
                if entitled_too or not entry.entitled:
                    yield entry

    def __repr__(self) -> str:
        return f"<Flow {self.key}: {self.rows} rows wait, {self.guaranteed_rate:.1f} of them a second guaranteed>"


class Shares:
    """Owns the flows of one model and their rates, which are refreshed a few times a second."""

    def __init__(self, weight: Callable[[str], float], window_s: float) -> None:
        self._weight = weight
        self._window_s = window_s
        self.flows: dict[FlowKey, Flow] = {}
        self._refreshed_s = float("-inf")
        self._contended: set[int] = set()
        self._over: dict[int, list[Flow]] = {}

    def peek(self, priority: int, tenant: str, allowed_s: float) -> Flow:
        """Return the flow of such jobs, or one not written down. A class holds times allowed up to a power of two."""
        key = (int(priority), tenant, math.frexp(max(allowed_s, 1e-3))[1])
        return self.flows.get(key) or Flow(key)

    def flow(self, priority: int, tenant: str, allowed_s: float) -> Flow:
        """Return the flow of such jobs, which is written down if they are the first."""
        flow = self.peek(priority, tenant, allowed_s)
        if flow.key not in self.flows:
            self.flows[flow.key] = flow
            self._refreshed_s = float("-inf")
        return flow

    def note_demand(self, flow: Flow, rows: int, now_s: float) -> None:
        flow.note_demand(rows, now_s, self._window_s)

    def join(self, flow: Flow, entry: Entry, now_s: float) -> None:
        """Count an entry to its flow, and what it takes of the flow's share once there are others."""
        if len(self.flows) > 1:
            flow.fill(now_s)
        flow.join(entry)

    def are_stale(self, now_s: float) -> bool:
        """Whether it is time to divide the rate anew."""
        return now_s - self._refreshed_s >= _REFRESH_S

    def refresh(self, rate: float, now_s: float) -> None:
        """Divide the model's rate anew."""
        self._refreshed_s = now_s
        if len(self.flows) > 1:
            for flow in self.flows.values():
                flow.fill(now_s)
        for key, flow in list(self.flows.items()):
            if not flow.rows and flow.demand(now_s, self._window_s) < _FADED:
                del self.flows[key]
        self._contended.clear()
        left = rate
        for priority in sorted({key[0] for key in self.flows}):
            flows = [flow for flow in self.flows.values() if flow.key[0] == priority]
            demand = self._divide(priority, flows, max(left, _LEFTOVER * rate), now_s)
            left -= demand

    def _divide(self, priority: int, flows: list[Flow], rate: float, now_s: float) -> float:
        demands: dict[str, float] = {}
        for flow in flows:
            demands[flow.key[1]] = demands.get(flow.key[1], 0.0) + flow.demand(now_s, self._window_s)
        total = sum(demands.values())
        if total > 1.1 * rate:
            self._contended.add(priority)
        weights = {tenant: max(self._weight(tenant), 1e-6) for tenant in demands}
        fair = max_min_fair(demands, weights, rate)
        # Who asks for nothing just now leaves its share to the others.
        total_weight = sum(weight for tenant, weight in weights.items() if demands[tenant] >= _FADED) or 1.0
        for flow in flows:
            tenant = flow.key[1]
            flow.over = demands[tenant] * total_weight > rate * weights[tenant]
            part = flow.demand(now_s, self._window_s) / demands[tenant] if demands[tenant] else 1.0
            flow.guaranteed_rate = part * rate * weights[tenant] / total_weight
            # What all tenants ask may fit; then a flow may use what is left as well.
            flow.fair_rate = part * max(fair[tenant], rate - total + demands[tenant])
        self._over[priority] = sorted(
            (flow for flow in flows if flow.rows),
            key=lambda flow: flow.rows / (flow.guaranteed_rate or 1e-9),
            reverse=True,
        )
        return total

    def contended(self, priority: int) -> bool:
        """Whether the jobs of a priority ask for about as much as is left for them, or more."""
        return priority in self._contended

    def most_over(self, priority: int) -> list[Flow]:
        """Return flows with waiting jobs, those with the most in proportion to their guarantee first."""
        return self._over.get(priority, [])


def max_min_fair(demands: dict[str, float], weights: dict[str, float], rate: float) -> dict[str, float]:
    """Divide a rate by weights, where nobody gets more than asked and what is left goes to the others."""
    fair: dict[str, float] = {}
    left, left_weight = rate, sum(weights.values())
    for tenant in sorted(demands, key=lambda name: demands[name] / weights[name]):
        fair[tenant] = min(demands[tenant], left * weights[tenant] / left_weight)
        left -= fair[tenant]
        left_weight -= weights[tenant]
        left_weight = max(left_weight, 1e-12)
    return fair
