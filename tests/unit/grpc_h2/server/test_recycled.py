# SPDX-License-Identifier: Apache-2.0
"""Memory is lent to one at a time, and of what was in it nothing outlasts the next message or a short rest."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from grpc_h2.bodies.recycled_memory import RecycledMemory
from hypothesis import given
from hypothesis import strategies as st

SIZE_BYTES = 300_000


def address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)


class Ticks:
    """A timer that goes on by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def later(self, _seconds: float, act: Callable[[], None]) -> None:
        self.due.append(act)

    def go(self) -> None:
        due, self.due = self.due, []
        for act in due:
            act()


def recycled(keep_bytes: int = 16 << 20) -> tuple[RecycledMemory, Ticks]:
    ticks = Ticks()
    return RecycledMemory(keep_bytes=keep_bytes, later=ticks.later), ticks


def test_what_was_lent_is_lent_again_without_what_the_next_message_leaves_of_it() -> None:
    memory, _ = recycled()
    first = memory.lend(SIZE_BYTES)
    at = address(first)
    first[:] = b"x" * SIZE_BYTES
    whole = first.obj
    del first
    assert whole is not None
    second = memory.lend(SIZE_BYTES - 1000)
    assert address(second) != at  # somebody still has a view
    del whole, second
    third = memory.lend(SIZE_BYTES - 2000)
    third[:] = b"y" * len(third)
    assert b"x" not in bytes(third.obj)


def test_what_is_free_is_overwritten_after_a_rest_and_given_back_after_a_second() -> None:
    memory, ticks = recycled()
    lent = memory.lend(SIZE_BYTES)
    at = address(lent)
    lent[:] = b"x" * SIZE_BYTES
    del lent
    ticks.go()
    assert ctypes.string_at(at, 3) == b"xxx"
    ticks.go()
    assert ctypes.string_at(at, SIZE_BYTES) == bytes(SIZE_BYTES)
    for _ in range(8):
        assert ticks.due
        ticks.go()
    assert "0 lent, 0 bytes free" in repr(memory)
    assert ticks.due == []


def test_what_is_lent_does_not_rest() -> None:
    memory, ticks = recycled()
    lent = memory.lend(SIZE_BYTES)
    lent[:] = b"x" * SIZE_BYTES
    for _ in range(5):
        ticks.go()
    assert lent.tobytes() == b"x" * SIZE_BYTES
    assert len(ticks.due) == 1


def test_a_view_of_a_part_keeps_the_whole() -> None:
    memory, _ = recycled()
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
    memory, _ = recycled(keep_bytes=1 << 20)
    lent = [memory.lend(512 << 10) for _ in range(5)]
    del lent
    assert f"0 lent, {1 << 20} bytes free" in repr(memory)


def test_large_messages_are_nobody_elses_afterwards() -> None:
    memory, _ = recycled()
    large = memory.lend(2 << 20)
    assert large.tobytes() == bytes(2 << 20)
    del large
    assert "0 lent, 0 bytes free" in repr(memory)


@pytest.mark.slow
@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=30))
def test_those_who_hold_memory_at_once_never_share_it(sizes: list[int]) -> None:
    memory, _ = recycled()
    held: list[tuple[int, memoryview]] = []
    for index, size in enumerate(sizes):
        view = memory.lend(size)
        assert len(view) == size
        view[:] = bytes([index]) * size
        held.append((index, view))
        if index % 3 == 2:
            del held[0]
            del view
    assert all(set(view.tobytes()) <= {index} for index, view in held)
