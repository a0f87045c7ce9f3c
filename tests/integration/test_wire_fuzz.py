# SPDX-License-Identifier: Apache-2.0
"""Five seconds of hostile frames against the real program; `tests/bench/fuzz_wire.py` goes on for longer."""

from testkit.wire_siege import besiege

# Of a machine on which the whole test suite runs.
HEALTH_P99_S = 0.5
GROWN_BYTES = 96 << 20
KEPT_BYTES = 16 << 20


async def test_a_hostile_caller_leaves_nothing_behind_and_keeps_nobody_waiting() -> None:
    siege = await besiege(seed=15, most_frames=1_000_000, seconds=5.0)
    assert siege.frame_count > 1000
    assert siege.codes["OK"] > 5
    assert siege.problems(health_p99_s=HEALTH_P99_S, grown_bytes=GROWN_BYTES, kept_bytes=KEPT_BYTES) == []
