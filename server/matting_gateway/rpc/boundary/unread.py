# SPDX-License-Identifier: Apache-2.0
"""Answers that are there and not read: they hold their permits, for a bounded time and at a least pace."""

from collections.abc import Iterator
from contextlib import contextmanager

from grpc_h2.server.bare_call import BareCall

from matting_gateway.admission.permit import Permit
from matting_gateway.rpc.boundary.timeouts import Timeouts


def hold_until_read(context: BareCall, permit: Permit) -> None:
    """Hold a permit until the answer has been written, or its reader is gone, as one is who has to give way.

    How long the reader may take where nobody waits is the call's own matter.
    """
    if context.written:
        permit.release()
        return
    reading = permit.unread(lambda: context.taken_bytes, context.cut_off)

    def written(_context: object) -> None:
        reading.end()
        permit.release()

    context.add_done_callback(written)


@contextmanager
def item_is_ready(context: BareCall, permit: Permit, timeouts: Timeouts) -> Iterator[None]:
    """Hold a permit for an answer of a stream, from when it is ready; a reader that is too slow is cut off."""
    mark = object()
    timeouts.begin(mark, context.cut_off)
    try:
        with permit.unread(lambda: context.taken_bytes, context.cut_off):
            yield
    finally:
        timeouts.end(mark)
