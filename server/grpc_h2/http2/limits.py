# SPDX-License-Identifier: Apache-2.0
"""What one connection may cost."""

import math
from dataclasses import dataclass

from grpc_h2.http2.wire.header_blocks import write_fields


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Bounds of a connection.

    `max_header_bytes` is what a caller is told (RFC 9113, 6.5.2, fields and 32 bytes each); up to
    twice of it is read, so that the stream alone can be refused. `window_bytes` is how much a
    stream may send before anybody reads it, `connection_window_bytes` what may be under way of all
    of them. Of frames that cost work and carry no call (pings, settings, resets, empty data)
    `control_frame_burst` are taken at once, then `control_frames_per_s`.
    `too_large_answer` is the header block that answers a stream with more headers than are read.
    A connection that is `max_age_s` old is drained, and closed `max_age_grace_s` later whatever is still open on it.
    """

    max_streams: int = 100
    max_header_bytes: int = 16 << 10
    too_large_answer: bytes = write_fields([(b":status", b"431")])
    max_frame_bytes: int = 4 << 20
    window_bytes: int = 65_535
    connection_window_bytes: int = 8 << 20
    max_unsent_bytes: int = 1 << 20
    control_frame_burst: int = 1000
    control_frames_per_s: int = 200
    greeting_timeout_s: float = 10.0
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0
    max_age_s: float = math.inf
    max_age_grace_s: float = math.inf
