# SPDX-License-Identifier: Apache-2.0
"""Connections that bring tensors get large windows, while what waits to be let in stays within bounds."""

from grpc_h2.bodies.unadmitted import Unadmitted
from grpc_h2.bodies.windows import Windows

USUAL, LARGE = 65_535, 1 << 20


class Peer:
    """A connection that notes its windows."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def resize_window(self, byte_count: int) -> None:
        self.sizes.append(byte_count)


class Call:
    """A call that is not let in."""

    network: str | None = None

    def refuse_call(self) -> None:
        raise AssertionError("nobody has to go here")


class Bench:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.windows = Windows(
            usual_bytes=USUAL, now=lambda: self.now_s, crowded_bytes=1000, unadmitted=Unadmitted(most_bytes=5000)
        )
        self.holder = Call()


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
    bench.windows.holds(bench.holder, 1001)
    assert peer.sizes == [LARGE, USUAL]
    bench.now_s += 0.5
    bench.windows.holds(bench.holder, 0)
    bench.windows.message_came(other, LARGE)
    assert other.sizes == []
    bench.now_s += 0.6
    bench.windows.message_came(other, LARGE)
    bench.windows.message_came(peer, LARGE)
    assert (other.sizes, peer.sizes) == ([LARGE], [LARGE, USUAL, LARGE])


def test_a_connection_that_is_closed_is_told_nothing() -> None:
    bench, peer = Bench(), Peer()
    bench.windows.message_came(peer, LARGE)
    bench.windows.forget(peer)
    bench.windows.holds(bench.holder, 1001)
    assert peer.sizes == [LARGE]
