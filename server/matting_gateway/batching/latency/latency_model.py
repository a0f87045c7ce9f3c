# SPDX-License-Identifier: Apache-2.0
"""What is learned of the time that a batch of n rows takes. Pure: no clock, no asyncio.

A table for each n, because engines step (Nexus and Clockwork profile each size offline; here it
is learned in service), and an affine line a + b*n through it for sizes not yet seen (BentoML and
Clipper fit such a line alone). The margin is a high quantile of what the predictions missed by,
as Clipper plans on the 99th percentile and not on the mean.
"""

from bisect import bisect_left, insort
from collections import deque

from matting_gateway.batching.latency.speed_change import SpeedChange

_DECAY = 0.97  # weight that an entry keeps at each observation of any size
_MAX_WEIGHT = 9.0  # so an observation moves its entry by a tenth of what it is off at the least
_MIN_WEIGHT = 0.02  # below it an entry has faded, the line speaks for it, and the size is tried again
_RESCALED_WEIGHT = 2 * _MIN_WEIGHT  # of a size that was not seen since a change: it fades within 23 observations
_LINE_WEIGHT = 1.0  # what the line counts in an entry that is known
_PRIOR_SLOPE = 0.25  # a row more costs a quarter of a single call, until it is known better
_COLD_COUNT = 3  # the first calls of a model may load, compile or tune: the quickest of them counts
_WINDOW = 64  # residuals that the margin looks back on
_QUANTILE = 0.95
_TOLERABLE = 0.7  # what half of the largest batch must have of it at least, to be preferred to a smaller one
_REFRESH_COUNT = 4  # a curve well known is drawn anew with every so many observations: drawing it is what costs
_EFFICIENT = 0.98  # the preferred size is the smallest that has this share of the best throughput


class LatencyTable:
    """Seconds that a batch of 1 to `max_rows` rows takes at one endpoint, learned from completions.

    Owns the entries and their weights. Invariant: `predict` never decreases with the row count.
    Until `warm`, predictions are guesses: nobody should be refused because of them.
    """

    def __init__(self, max_rows: int, prior: "LatencyTable | None" = None) -> None:
        self.max_rows = max(1, max_rows)
        self.observation_count = 0
        self.warm = False
        self._entries = [0.0] * (self.max_rows + 1)
        self._weights = [0.0] * (self.max_rows + 1)
        self._curve = [0.0] * (self.max_rows + 1)
        self._misses: deque[float] = deque(maxlen=_WINDOW)
        self._sorted_misses: list[float] = []
        self._change = SpeedChange()
        self.margin_share = 0.1
        self.preferred_rows = self.max_rows
        if prior is not None and prior.observation_count:
            for rows in range(1, self.max_rows + 1):
                self._curve[rows] = prior.predict(rows)
            self.preferred_rows = self._preferred()

    def predict(self, row_count: int) -> float:
        """Return the expected seconds of a batch; 0.0 while nothing is known."""
        if row_count <= self.max_rows:
            return self._curve[row_count]
        return self._curve[self.max_rows] * row_count / self.max_rows

    def predict_high(self, row_count: int) -> float:
        """Return seconds that 95 of 100 batches stay under."""
        return self.predict(row_count) * (1.0 + self.margin_share)

    def ratio(self, row_count: int, seconds: float, *, probe: bool = False) -> float | None:
        """Return how many times as long a batch took as is known of its size; None while too little is known."""
        rows = min(max(row_count, 1), self.max_rows)
        if self.observation_count < _COLD_COUNT or not (probe or self._weights[rows] >= _MIN_WEIGHT):
            return None
        return max(seconds, 1e-6) / self._curve[rows]

    def observe(self, row_count: int, seconds: float, *, probe: bool = False) -> bool:
        """Learn from one completed batch that had the instance for itself for `seconds`.

        A single accident teaches the margin, not the table; a few alike in a row are a change,
        which is taken over at once. A size that has faded tells nothing of the others, unless it is
        that of a `probe`, which is sent to find out about all of them. Returns whether what is believed
        now agrees with it.
        """
        rows = min(max(row_count, 1), self.max_rows)
        seconds = max(seconds, 1e-6)
        self.observation_count += 1
        self.warm = self.observation_count >= _COLD_COUNT
        if self.observation_count <= _COLD_COUNT:
            self._observe_cold(rows, seconds)
            self._refresh()
            return False
        ratio = seconds / self._curve[rows]
        self._remember_miss(ratio - 1.0)
        known = probe or self._weights[rows] >= _MIN_WEIGHT
        settled = known and self.observation_count > _WINDOW
        if not known:
            self._change.forget()
        elif (change := self._change.note(ratio)) is not None:
            self.rescale(change)
            settled = False
        elif self._change.suspected:
            return False
        self._move(rows, seconds)
        if not settled or self.observation_count % _REFRESH_COUNT == 0:
            self._refresh()
        return True

    def _observe_cold(self, rows: int, seconds: float) -> None:
        known = self._entries[rows] if self._weights[rows] else seconds
        self._entries[rows] = min(known, seconds)
        self._weights[rows] = 1.0
        for fewer in range(1, rows):
            if self._weights[fewer]:
                self._entries[fewer] = min(self._entries[fewer], seconds)

    def _move(self, rows: int, seconds: float) -> None:
        weights = self._weights
        for other in range(1, self.max_rows + 1):
            weights[other] *= _DECAY
        if weights[rows] < _MIN_WEIGHT:
            self._entries[rows] = seconds
        else:
            self._entries[rows] += (seconds - self._entries[rows]) / (1.0 + weights[rows])
        weights[rows] = min(weights[rows] + 1.0, _MAX_WEIGHT)

    def rescale(self, ratio: float) -> None:
        """Believe every size to take so many times as long from now on, and try them all again soon."""
        for rows in range(1, self.max_rows + 1):
            self._entries[rows] *= ratio
            self._weights[rows] = min(self._weights[rows], _RESCALED_WEIGHT)
            self._curve[rows] *= ratio
        self._misses.clear()
        self._sorted_misses.clear()

    def _remember_miss(self, miss: float) -> None:
        if len(self._misses) == _WINDOW:
            del self._sorted_misses[bisect_left(self._sorted_misses, self._misses[0])]
        self._misses.append(miss)
        insort(self._sorted_misses, miss)
        count = len(self._sorted_misses)
        high = self._sorted_misses[min(count - 1, int(_QUANTILE * count))]
        # With few residuals the largest of them is no quantile yet: stay cautious, never absurd.
        self.margin_share = min(max(high, 0.02), 1.0)

    def _refresh(self) -> None:
        intercept, slope = self._line()
        blocks: list[tuple[float, float, int]] = []  # mean, weight, sizes pooled
        for rows in range(1, self.max_rows + 1):
            weight = self._weights[rows]
            mean, total, count = intercept + slope * rows, 1e-3, 1
            if weight >= _MIN_WEIGHT:
                total = weight + _LINE_WEIGHT
                mean = (weight * self._entries[rows] + _LINE_WEIGHT * mean) / total
            # Pool adjacent violators: the isotonic regression of the table.
            while blocks and blocks[-1][0] > mean:
                last_mean, last_total, last_count = blocks.pop()
                mean = (mean * total + last_mean * last_total) / (total + last_total)
                total += last_total
                count += last_count
            blocks.append((mean, total, count))
        rows = 1
        for mean, _, count in blocks:
            self._curve[rows : rows + count] = [mean] * count
            rows += count
        self.preferred_rows = self._preferred()

    def _line(self) -> tuple[float, float]:
        """Weighted least squares, drawn towards the prior slope while few sizes are known."""
        total = mean_rows = mean_s = 0.0
        for rows in range(1, self.max_rows + 1):
            weight = self._weights[rows]
            total += weight
            mean_rows += weight * rows
            mean_s += weight * self._entries[rows]
        mean_rows /= total
        mean_s /= total
        spread = product = 0.0
        for rows in range(1, self.max_rows + 1):
            weight = self._weights[rows]
            spread += weight * (rows - mean_rows) ** 2
            product += weight * (rows - mean_rows) * (self._entries[rows] - mean_s)
        prior = _PRIOR_SLOPE * mean_s / (1.0 - _PRIOR_SLOPE + _PRIOR_SLOPE * mean_rows)
        slope = min(max((product + 0.5 * prior) / (spread + 0.5), 0.0), mean_s / mean_rows)
        return mean_s - slope * mean_rows, slope

    def _preferred(self) -> int:
        best = max(rows / self._curve[rows] for rows in range(1, self.max_rows + 1))
        shares = {n: n / self._curve[n] / best for n in range(1, self.max_rows + 1)}
        half = [n for n in shares if 2 * n >= self.max_rows]
        # Not below half of the largest if that costs little: what a batch does not save the engine, it still saves
        # the way there and back, and a belief that singles are quicker would never be tried again.
        for enough, sizes in ((_EFFICIENT, half), (_TOLERABLE, half), (_EFFICIENT, list(shares))):
            found = next((n for n in sizes if shares[n] >= enough), None)
            if found is not None:
                return found
        return self.max_rows

    def __repr__(self) -> str:
        known = {n: round(s, 4) for n, s in enumerate(self._curve) if n in (1, self.max_rows)}
        return f"<LatencyTable {known} s, margin {self.margin_share:.0%}, {self.observation_count} seen>"
