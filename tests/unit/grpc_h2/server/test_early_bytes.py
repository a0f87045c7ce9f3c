# SPDX-License-Identifier: Apache-2.0
"""Bytes come out of the queue as they were put in, however many there are."""

import pytest
from grpc_h2.bodies.early_bytes import EarlyBytes
from hypothesis import given
from hypothesis import strategies as st


def _lend(byte_count: int) -> memoryview:
    return memoryview(bytearray(byte_count))


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 1)), max_size=12))
def test_what_is_dropped_is_what_was_added_in_its_order(steps: list[tuple[int, float]]) -> None:
    early, expected = EarlyBytes(_lend), b""
    for number, (size, share) in enumerate(steps):
        data = bytes([number]) * size
        early.add(memoryview(data))
        expected += data
        assert early.view() == expected
        assert len(early) == len(expected)
        taken = int(share * len(expected))
        early.drop(taken)
        expected = expected[taken:]
    assert early.view() == expected


def test_where_nothing_has_come_there_is_no_memory() -> None:
    early = EarlyBytes(_lend)
    early.add(memoryview(bytes(100_000)))
    early.drop(100_000)
    assert (len(early), bytes(early.view()), early._memory) == (0, b"", None)
