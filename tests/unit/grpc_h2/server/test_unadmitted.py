# SPDX-License-Identifier: Apache-2.0
"""What calls without a permit hold is bounded; the largest go, and no network takes what others need."""

import pytest
from grpc_h2.bodies.unadmitted import Unadmitted
from hypothesis import given
from hypothesis import strategies as st


class Call:
    """A call that holds something until it is refused."""

    def __init__(self, unadmitted: Unadmitted, network: str | None = None) -> None:
        self.network = network
        self.refused = False
        self._unadmitted = unadmitted

    def holds(self, byte_count: int) -> None:
        self._unadmitted.holds(self, byte_count)

    def refuse_call(self) -> None:
        self.refused = True
        self.holds(0)


def test_the_largest_is_refused_where_it_is_too_much() -> None:
    unadmitted = Unadmitted(most_bytes=1000)
    large, small, last = Call(unadmitted), Call(unadmitted), Call(unadmitted)
    large.holds(600)
    small.holds(300)
    last.holds(101)
    assert (large.refused, small.refused, last.refused) == (True, False, False)
    assert unadmitted.total_bytes == 401


def test_whoever_makes_it_too_much_is_refused_where_nobody_holds_more() -> None:
    unadmitted = Unadmitted(most_bytes=1000)
    others = [Call(unadmitted) for _ in range(9)]
    for other in others:
        other.holds(100)
    last = Call(unadmitted)
    last.holds(200)
    assert last.refused
    assert not any(other.refused for other in others)


def test_a_network_may_hold_all_of_it_alone_but_leaves_an_eighth_as_soon_as_another_comes() -> None:
    unadmitted = Unadmitted(most_bytes=800)
    many = [Call(unadmitted, "192.0.2.0/24") for _ in range(80)]
    for call in many:
        call.holds(10)
    assert not any(call.refused for call in many)
    other = Call(unadmitted, "198.51.100.0/24")
    other.holds(90)
    assert not other.refused
    assert sum(call.refused for call in many) == 9


@pytest.mark.parametrize("network", [None, "198.51.100.0/24"])
def test_a_network_within_its_part_is_not_made_to_go_for_others(network: str | None) -> None:
    unadmitted = Unadmitted(most_bytes=800)
    few = [Call(unadmitted, "192.0.2.0/24") for _ in range(40)]
    for call in few:
        call.holds(10)
    large = Call(unadmitted, network)
    large.holds(401)
    assert large.refused
    assert not any(call.refused for call in few)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400)), max_size=100))
def test_there_is_never_more_than_the_most_and_the_sum_is_right(changes: list[tuple[int, int]]) -> None:
    unadmitted = Unadmitted(most_bytes=1000)
    calls = [Call(unadmitted, (None, "a", "b")[index % 3]) for index in range(21)]
    held = dict.fromkeys(calls, 0)
    for index, byte_count in changes:
        held[calls[index]] = byte_count
        calls[index].holds(byte_count)
        for call in calls:
            if call.refused:
                held[call], call.refused = 0, False
        assert unadmitted.total_bytes == sum(held.values()) <= 1000


def test_that_much_is_free_again_is_told_once_for_each_time_that_there_was_much() -> None:
    told: list[int] = []
    unadmitted = Unadmitted(most_bytes=1600, much_is_free=lambda: told.append(1))
    call = Call(unadmitted)
    for byte_count in (300, 0, 500, 200, 50, 0, 90, 0):
        call.holds(byte_count)
    assert told == [1]
