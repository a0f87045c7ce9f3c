# SPDX-License-Identifier: Apache-2.0
"""What is remembered of streams that are over, so that what still comes on them can be told apart (RFC 9113, 5.1)."""

from collections import deque

from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import FLOW_CONTROL_ERROR

_MAX_SKIPPED = 16


class ClosedStreams:
    """Streams that we have ended before the peer was done, and numbers that it left out.

    Until a peer has heard of a reset it goes on sending, as much as its window lets it; it cannot have more streams
    under way than it may have open. Owns for each of these how many bytes may still come. Invariant: no more than
    `max_count` streams are remembered, the last ones.
    """

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._receivable_bytes: dict[int, int] = {}
        self._skipped: deque[range] = deque(maxlen=_MAX_SKIPPED)

    def add(self, stream_id: int, receivable_bytes: int) -> None:
        """Remember a stream that we have ended."""
        self._receivable_bytes[stream_id] = receivable_bytes
        if len(self._receivable_bytes) > self._max_count:
            del self._receivable_bytes[next(iter(self._receivable_bytes))]

    def forget(self, stream_id: int) -> None:
        """Note that the peer is done with a stream: nothing may come on it any more."""
        self._receivable_bytes.pop(stream_id, None)

    def skip(self, after_id: int, stream_id: int) -> None:
        """Note numbers that can never be used: the peer has opened a stream with a higher one (5.1.1)."""
        self._skipped.append(range(after_id + 1, stream_id))

    def was_skipped(self, stream_id: int) -> bool:
        return any(stream_id in numbers for numbers in self._skipped)

    def expects(self, stream_id: int) -> bool:
        """Whether something may still come on a stream that was sent before the peer heard of its end."""
        return stream_id in self._receivable_bytes

    def data_came(self, stream_id: int, byte_count: int) -> bool:
        """Count DATA that nobody reads; tell whether it was to be expected.

        Raises:
            ConnectionFault: It is more than the stream's window allowed.
        """
        left = self._receivable_bytes.get(stream_id)
        if left is None:
            return False
        if byte_count > left:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more DATA than the window of a stream that was reset allows")
        self._receivable_bytes[stream_id] = left - byte_count
        return True
