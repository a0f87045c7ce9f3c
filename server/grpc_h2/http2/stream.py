# SPDX-License-Identifier: Apache-2.0
"""One stream: what of its body came, what of its answer has still to go."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from grpc_h2.buffers import Buffer

# A body, or a part of one, as pieces: each a few bytes, and what follows them.
Body: TypeAlias = Sequence[tuple[bytes, Buffer]]


class Sink(Protocol):
    """Who takes what comes on a stream. Nothing is called after `ended` but `lost`, and nothing after `lost`."""

    def room(self) -> memoryview | None:
        """Return where the next bytes of the body may be written at once; None: they are fed."""
        ...

    def wrote(self, byte_count: int) -> None:
        """Tell that so many bytes were written to `room()`."""
        ...

    def feed(self, data: memoryview) -> None:
        """Take bytes of the body; the view is valid during the call only."""
        ...

    def ended(self) -> None:
        """Tell that the body is complete."""
        ...

    def lost(self, text: str) -> None:
        """Tell that the peer gave up, or is gone."""
        ...


class Message:
    """A part of a body on its way out: a few bytes before, and a view that is valid until it is sent."""

    __slots__ = ("prefix", "view")

    def __init__(self, prefix: bytes, view: memoryview) -> None:
        self.prefix = prefix
        self.view = view

    def __len__(self) -> int:
        return len(self.prefix) + len(self.view)

    def take(self, byte_count: int) -> tuple[Buffer, Buffer]:
        """Cut off the first bytes, in two pieces that may be empty."""
        prefix, view = self.prefix, self.view
        rest = max(0, byte_count - len(prefix))
        self.prefix, self.view = prefix[byte_count:], view[rest:]
        return prefix[:byte_count], view[:rest]

    def keep(self) -> None:
        """Have memory of its own for what is left: whose it looks at is wanted elsewhere."""
        self.view = memoryview(bytes(self.view))


class Stream:
    """The state of one stream.

    Owned by its connection, which alone changes it. `receivable_bytes` is what the peer may still
    send, `wanted_bytes` how much of the body is waited for, `sendable_bytes` what we may send. `announced_bytes` is
    what is still to come by the content-length that the peer gave, if it gave one. `unsent` holds in order
    frames (bytes), messages, and whom to tell that what was before has been written.
    Invariant: the stream is among its connection's exactly while it is not `closed`.
    """

    __slots__ = (
        "all_sent",
        "announced_bytes",
        "closed",
        "id",
        "receivable_bytes",
        "remote_ended",
        "sendable_bytes",
        "sink",
        "unsent",
        "wanted_bytes",
    )

    def __init__(self, stream_id: int, *, receivable_bytes: int, sendable_bytes: int, remote_ended: bool) -> None:
        self.id = stream_id
        self.receivable_bytes = receivable_bytes
        self.wanted_bytes = 0
        self.announced_bytes: int | None = None
        self.sendable_bytes = sendable_bytes
        self.remote_ended = remote_ended
        self.sink: Sink | None = None
        self.unsent: deque[bytes | Message | Callable[[], None]] = deque()
        self.all_sent = False  # the last that there will be has been queued
        self.closed = False

    def __repr__(self) -> str:
        return f"<Stream {self.id}{' closed' if self.closed else ''}>"
