# SPDX-License-Identifier: Apache-2.0
"""Memory is lent empty, to one at a time, and only what is overwritten is lent again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.grpc_server.recycled import RecycledMemory

SIZE_BYTES = 300_000


def address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)


def test_what_was_lent_is_lent_again_without_what_was_in_it() -> None:
    memory = RecycledMemory()
    first = memory.lend(SIZE_BYTES)
    at = address(first)
    first[:] = b"x" * SIZE_BYTES
    del first
    second = memory.lend(SIZE_BYTES - 1)
    assert address(second) == at
    assert second.tobytes() == bytes(SIZE_BYTES - 1)


def test_a_view_of_a_part_keeps_the_whole() -> None:
    memory = RecycledMemory()
    whole = memory.lend(SIZE_BYTES)
    part = whole[100:200]
    at = address(whole)
    whole.release()
    del whole
    other = memory.lend(SIZE_BYTES)
    assert address(other) != at
    part[:] = b"x" * 100
    assert other.tobytes() == bytes(SIZE_BYTES)


def test_no_more_is_kept_than_may_be() -> None:
    memory = RecycledMemory(keep_bytes=1 << 20)
    lent = [memory.lend(512 << 10) for _ in range(5)]
    del lent
    assert f"0 lent, {1 << 20} bytes free" in repr(memory)


def test_large_messages_are_nobody_elses_afterwards() -> None:
    memory = RecycledMemory()
    large = memory.lend(2 << 20)
    assert large.tobytes() == bytes(2 << 20)
    del large
    assert "0 lent, 0 bytes free" in repr(memory)


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=30))
def test_those_who_hold_memory_at_once_never_share_it(sizes: list[int]) -> None:
    memory = RecycledMemory()
    held = []
    for index, size in enumerate(sizes):
        view = memory.lend(size)
        assert len(view) == size
        assert not any(view)
        view[:] = bytes([index + 1]) * size
        held.append(view)
        if index % 3 == 2:
            del held[0]
            del view
    assert all(len(set(view.tobytes())) <= 1 for view in held)
