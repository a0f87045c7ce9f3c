# SPDX-License-Identifier: Apache-2.0
"""When jobs come, and until when each must be answered."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Arrival(NamedTuple):
    """One job of one row. Times in seconds of virtual time; `group` is for reports only."""

    at_s: float
    deadline_s: float
    group: str = ""


Deadlines = tuple[tuple[str, float], ...]  # (group, seconds allowed), drawn with equal chances


def poisson(rate: float, duration_s: float, deadlines: Deadlines, seed: int = 1) -> Iterator[Arrival]:
    """Independent callers: exponential gaps."""
    draw = random.Random(seed)
    now_s = draw.expovariate(rate)
    while now_s < duration_s:
        group, allowed_s = draw.choice(deadlines)
        yield Arrival(now_s, now_s + allowed_s, group)
        now_s += draw.expovariate(rate)


def on_off(
    rate: float, on_s: float, off_s: float, duration_s: float, deadlines: Deadlines, seed: int = 1
) -> Iterator[Arrival]:
    """Bursts: Poisson at `rate` for `on_s`, then nothing for `off_s`, and again."""
    period_s = on_s + off_s
    for arrival in poisson(rate, duration_s / period_s * on_s, deadlines, seed):
        bursts, within_s = divmod(arrival.at_s, on_s)
        at_s = bursts * period_s + within_s
        yield Arrival(at_s, at_s + arrival.deadline_s - arrival.at_s, arrival.group)


def trace(path: Path, allowed_s: float) -> Iterator[Arrival]:
    """Replay a file: on each line a time in seconds, and optionally the seconds allowed."""
    for line in path.read_text().splitlines():
        fields = line.replace(",", " ").split()
        if fields and not fields[0].startswith("#"):
            at_s = float(fields[0])
            yield Arrival(at_s, at_s + (float(fields[1]) if len(fields) > 1 else allowed_s))
