# SPDX-License-Identifier: Apache-2.0
"""One connection on the event loop, whoever began it: what its transport brings and takes, and its timers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from grpc_h2.buffers import Buffer
from grpc_h2.http2.connection import Connection, ConnectionHost
from grpc_h2.http2.limits import Http2Limits
from grpc_h2.http2.wire.errors import ConnectionFault, HeadersTooLarge, OnFault

SCRATCH_BYTES = 64 << 10
# Frames taken in one step of the event loop, where a call counts as twelve: then others have a turn.
_FRAMES_A_STEP = 24
_NOTHING = memoryview(b"")
# Room for headers and little of a body: what is received here is copied once more.
_HEAD_BYTES = 2 << 10
_ZEROS = memoryview(bytes(SCRATCH_BYTES))
_CLOSE_TIMEOUT_S = 2.0

C = TypeVar("C", bound=Connection)


class Scratch:
    """Where all connections of a loop receive what cannot be received in place.

    A transport fills a buffer and hands it over before another one's turn, so one is enough.
    Owned by the server. Invariant: it holds nothing between two arrivals.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(SCRATCH_BYTES))
        self.head = self.view[:_HEAD_BYTES]

    def wipe(self, byte_count: int) -> None:
        self.view[:byte_count] = _ZEROS[:byte_count]


class ConnectionProtocol(asyncio.BufferedProtocol, Generic[C]):
    """Brings a transport and a connection together, whoever began it.

    Owns both, and one timer. Invariants: while frames that have come are left for a later step, nothing is read; the
    timer ends a peer that does not introduce itself in time, or that answers no ping; `on_closed` is called once for
    each `on_opened`: a handshake of TLS that fails leads to neither.
    """

    def __init__(
        self,
        limits: Http2Limits,
        make_connection: Callable[[Http2Limits, ConnectionHost], C],
        *,
        scratch: Scratch,
        on_opened: Callable[[], None],
        on_closed: Callable[[], None],
        on_fault: OnFault,
    ) -> None:
        self._limits = limits
        self._on_fault = on_fault
        self._scratch = scratch
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self._in_place = self._ignores_input = self._has_ended_output = False
        self._heard = False
        self._has_frames_left = self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        host = ConnectionHost(self._write, self._loop.call_soon, self._loop.time, on_fault, on_drained=self.close)
        self.connection = make_connection(limits, host)
        self._receiving = self.connection.receiving

    # --- what the transport says ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self._limits.max_unsent_bytes)
        self._timer = self._loop.call_later(self._limits.greeting_timeout_s, self._check_greeted)
        self.connection.greet()
        self._on_opened()

    def get_buffer(self, sizehint: int) -> memoryview:
        receiving = self._receiving
        room = None if self._paused else receiving.room()
        self._in_place = room is not None
        if room is not None:
            return room
        return self._scratch.head if receiving.large_bodies and not receiving.body_bytes else self._scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        try:
            if self._ignores_input:
                return  # TLS hands over what it had read before the connection closed
            if self._in_place:
                self._receiving.wrote(nbytes)
            else:
                self._take(self._scratch.view[:nbytes])
        except ConnectionFault as fault:
            self._fail(fault)
        finally:
            if not self._in_place:
                self._scratch.wipe(nbytes)

    def _take(self, data: memoryview) -> None:
        """Take what came, a few frames in a step; where many calls begin with it, others have their turn in between."""
        most_frames = 0 if self._paused else _FRAMES_A_STEP
        self._has_frames_left = self._receiving.take(data, most_frames)
        if self._has_frames_left and not self._paused and not self._closing:
            self._paused = True
            self._pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take some of what is left of what came; once nothing is, read on."""
        if self._ignores_input:
            return
        if self._has_frames_left:
            try:
                self._has_frames_left = self._receiving.take(_NOTHING, _FRAMES_A_STEP)
            except ConnectionFault as fault:
                self._has_frames_left = False
                self._fail(fault)
        if self._has_frames_left:
            self._loop.call_soon(self._go_on)
            return
        self._paused = False
        if self.transport is not None and not self._closing:
            self.transport.resume_reading()

    def _pause_reading(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.connection.end("the peer has gone")
        self._close_soon()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ignores_input = True
        self.connection.end("the connection is gone")
        self._scratch.wipe(SCRATCH_BYTES)  # a transport that failed hands over nothing of what it has read
        self._on_closed()

    def pause_writing(self) -> None:
        self.connection.pause()

    def resume_writing(self) -> None:
        self.connection.resume()

    # --- what is done to it -----------------------------------------------------------------

    def close(self) -> None:
        """Tell the peer, give up all streams, and close once all is written."""
        if not self._closing and not self._ignores_input:
            self.connection.shut()
            self.connection.end("the connection is closed")
            self._close_written()

    def _close_written(self) -> None:
        """Close a connection on which all is said."""
        self._close_soon()

    def _write(self, buffers: Sequence[Buffer]) -> None:
        if self.transport is not None and not self._closing and not self._has_ended_output:
            self.transport.writelines(buffers)

    @property
    def _closing(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def _fail(self, fault: ConnectionFault) -> None:
        """End a connection that went wrong (RFC 9113, 5.4.1)."""
        self._on_fault(fault.kind, fault.text)
        self.connection.fail(fault)
        if isinstance(fault, HeadersTooLarge) and not self._closing:
            self._linger(_CLOSE_TIMEOUT_S)
        else:
            self._close_soon()

    def _linger(self, longest_s: float) -> None:
        """Drop what else comes, until the peer closes its side.

        A connection that is closed with something unread is reset, and with it the peer loses answers on their way.
        """
        self._ignores_input = True
        self._set_timer(longest_s, self._abort)
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    def _close_soon(self) -> None:
        """Close once all is written, or cut off a peer that does not read it."""
        if self.transport is not None and not self._closing:
            self._set_timer(_CLOSE_TIMEOUT_S, self._abort)
            self.connection.flush()
            self._ignores_input = True
            self.transport.close()

    # --- timers -----------------------------------------------------------------------------

    def _set_timer(self, after_s: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(after_s, act)

    def _check_greeted(self) -> None:
        if self._receiving.greeted:
            self._heard = True
            self._check_alive()
        else:
            self._abort()

    def _check_alive(self) -> None:
        """Ping a peer of whom nothing was heard for a while; without an answer it is gone."""
        if self._heard:
            self._heard = False
            self._timer = self._loop.call_later(self._limits.keepalive_s, self._check_alive)
            return
        self.connection.ping()
        self._timer = self._loop.call_later(self._limits.keepalive_timeout_s, self._check_ping_answered)

    def _check_ping_answered(self) -> None:
        if self._heard:
            self._check_alive()
        else:
            self._abort()

    def _abort(self) -> None:
        self._ignores_input = True
        if self.transport is not None:
            self.transport.abort()
