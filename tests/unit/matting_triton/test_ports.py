# SPDX-License-Identifier: Apache-2.0
"""A held port is ours: nobody takes it, and one in use is refused."""

import socket

import pytest
from matting_triton.errors import PortTakenError
from matting_triton.ports import HeldPort


def test_a_held_port_is_kept_from_others_and_given_to_who_shares_it() -> None:
    held = HeldPort()
    try:
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", held.number))
        socket.create_server(("127.0.0.1", held.number), reuse_port=True).close()
    finally:
        held.close()


def test_a_held_port_takes_no_connections() -> None:
    held = HeldPort()
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", held.number), 5)
    finally:
        held.close()


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_that_somebody_listens_on_is_refused(reuse_port: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=reuse_port) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(port)):
            HeldPort(port)


def test_a_number_that_is_no_port_is_refused() -> None:
    with pytest.raises(PortTakenError, match="70000"):
        HeldPort(70000)
