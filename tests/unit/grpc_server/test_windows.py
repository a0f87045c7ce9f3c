# SPDX-License-Identifier: Apache-2.0
"""Connections that bring tensors get large windows, while what waits to be let in stays within bounds."""

import pytest
from matting_gateway.grpc_server.windows import Windows

USUAL, LARGE = 65_535, 1 << 20


class Peer:
    """A connection that notes its windows."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def resize_window(self, byte_count: int) -> None:
        self.sizes.append(byte_count)


class Bench:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.windows = Windows(usual_bytes=USUAL, now=lambda: self.now_s, crowded_bytes=1000, most_bytes=5000)


def test_a_connection_gets_a_large_window_with_its_first_large_message_and_only_then() -> None:
    bench, peer = Bench(), Peer()
    bench.windows.message_came(peer, USUAL)
    assert peer.sizes == []
    bench.windows.message_came(peer, USUAL + 1)
    bench.windows.message_came(peer, USUAL + 1)
    assert peer.sizes == [LARGE]


def test_where_too_much_has_come_early_every_window_is_the_usual_one_for_a_while() -> None:
    bench, peer, other = Bench(), Peer(), Peer()
    bench.windows.message_came(peer, LARGE)
    bench.windows.came_early(1001)
    assert peer.sizes == [LARGE, USUAL]
    bench.now_s += 0.5
    bench.windows.came_early(-1001)
    bench.windows.message_came(other, LARGE)
    assert other.sizes == []
    bench.now_s += 0.6
    bench.windows.message_came(other, LARGE)
    bench.windows.message_came(peer, LARGE)
    assert (other.sizes, peer.sizes) == ([LARGE], [LARGE, USUAL, LARGE])


@pytest.mark.parametrize(("early", "own", "refused"), [(5000, LARGE, False), (5001, LARGE, True), (5001, USUAL, False)])
def test_who_has_sent_more_than_the_usual_is_refused_where_there_is_far_too_much(
    early: int, own: int, refused: bool
) -> None:
    bench = Bench()
    bench.windows.came_early(early)
    assert bench.windows.refuses(own) is refused


def test_a_connection_that_is_closed_is_told_nothing() -> None:
    bench, peer = Bench(), Peer()
    bench.windows.message_came(peer, LARGE)
    bench.windows.forget(peer)
    bench.windows.came_early(1001)
    assert peer.sizes == [LARGE]
